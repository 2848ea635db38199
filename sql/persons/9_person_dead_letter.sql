-- Purpose: every dead letter of both topics, whole on every node like persons, separate from the
--          tables that analysts query.
-- Reads:   rows of both dead-letter views.
-- Writes:  none.
-- Runs on: every node. Where tables are replicated, all nodes of all shards are replicas of this
--          one table.
--
-- Offsets are the group's, so a crash can repeat a dead letter. Topic, partition and offset
-- identify it.
CREATE TABLE {{ database }}.person_dead_letter
(
{% set columns %}{% include 'events/dead_letter_columns.sql' %}{% endset -%}
{{ columns | replace('raw_message String', 'raw_message String CODEC(ZSTD(3))') | indent(4, true) }}
)
{%- if replicated %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/noshard/{{ database }}.person_dead_letter', '{shard}-{replica}')
{%- else %}
ENGINE = MergeTree
{%- endif %}
PARTITION BY clamp(toYYYYMM(_timestamp), 202001, 203512)
ORDER BY (topic, partition, offset)
