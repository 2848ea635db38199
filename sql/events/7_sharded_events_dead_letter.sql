-- Purpose: stores this shard's dead letters, separate from the tables that analysts query.
-- Reads:   rows of events_dead_letter.
-- Writes:  none.
-- Runs on: every node; replicas of one shard share it.
CREATE TABLE {{ database }}.sharded_events_dead_letter
(
{% set columns %}{% include 'events/dead_letter_columns.sql' %}{% endset -%}
{{ columns | replace('raw_message String', 'raw_message String CODEC(ZSTD(3))') | indent(4, true) }}
)
{%- if replicated %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{{ database }}.sharded_events_dead_letter', '{replica}')
{%- else %}
ENGINE = MergeTree
{%- endif %}
PARTITION BY clamp(toYYYYMM(_timestamp), 202001, 203512)
ORDER BY (topic, partition, offset)
SETTINGS index_granularity = 8192, {{ "replicated_deduplication_window" if replicated else "non_replicated_deduplication_window" }} = {{ events.deduplication_window }}
{%- if replicated %}, replicated_deduplication_window_seconds = 604800{% endif %}
