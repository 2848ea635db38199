-- Purpose: every dead letter of both topics, whole on every node as persons are, apart from what analysts query.
-- Reads:   what both dead-letter views send.
-- Writes:  nothing.
-- Runs on: every node; where tables are replicated all nodes of all shards are replicas of this one table.
--
-- The offsets are the group's, so a crash can repeat a letter: topic, partition and offset tell one from another.
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
