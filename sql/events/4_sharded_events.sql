-- Purpose: stores this shard's events, with the materialized columns that queries filter by. Never
--          queried directly.
-- Reads:   rows of writable_events.
-- Writes:  none.
-- Runs on: every node; replicas of one shard share it.
--
-- No column may depend on the time of the insert. A block that is sent again must give the same
-- part, so that the deduplication window recognizes it. Months are clamped, so that an absurd
-- timestamp makes no partition of its own.
{%- macro expression(column) -%}
{%- if column.file -%}
{% include column.file %}
{%- elif column.expression -%}
{{ column.expression }}
{%- else -%}
replaceRegexpAll(JSONExtractRaw({{ column.source }}, '{{ column.key }}'), '^"|"$', '')
{%- endif -%}
{%- endmacro %}
CREATE TABLE {{ database }}.sharded_events
({%- for column in events.written %}
    {{ column.ident }} {{ column.type }}{% if column.comment %} COMMENT '{{ column.comment }}'{% endif %}{% if column.codec %} CODEC({{ column.codec }}){% endif %},
{%- endfor %}
{%- for column in events.materialized %}
    {{ column.ident }} {{ column.type }} MATERIALIZED {{ expression(column) }}{% if column.comment %} COMMENT '{{ column.comment }}'{% endif %}{% if column.codec %} CODEC({{ column.codec }}){% endif %},
{%- endfor %}
    INDEX minmax_timestamp _timestamp TYPE minmax GRANULARITY 3
{%- for column in events.indexed %},
    INDEX {{ column.index_ident }} {{ column.ident }} TYPE {{ column.index }} GRANULARITY 1
{%- endfor %}
)
{%- if replicated %}
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{{ database }}.sharded_events', '{replica}', _timestamp)
{%- else %}
ENGINE = ReplacingMergeTree(_timestamp)
{%- endif %}
PARTITION BY clamp(toYYYYMM(timestamp), 202001, 203512)
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
SAMPLE BY cityHash64(distinct_id)
SETTINGS index_granularity = 8192, {{ "replicated_deduplication_window" if replicated else "non_replicated_deduplication_window" }} = {{ events.deduplication_window }}
{%- if replicated %}, replicated_deduplication_window_seconds = 604800{% endif %}
