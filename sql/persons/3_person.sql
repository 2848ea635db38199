-- Purpose: every version of every person, whole on every node, so that no JOIN crosses the network.
-- Reads:   rows of person_mv.
-- Writes:  none.
-- Runs on: every node. Where tables are replicated, all nodes of all shards are replicas of this
--          one table.
--
-- Merges eventually leave only the greatest version. Queries must not rely on it, see the view
-- persons.
CREATE TABLE {{ database }}.person
(
{% set columns %}{% include 'persons/person_columns.sql' %}{% endset -%}
{{ columns | replace('properties String', 'properties String CODEC(ZSTD(3))') | indent(4, true) }}
)
{%- if replicated %}
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/noshard/{{ database }}.person', '{shard}-{replica}', version)
{%- else %}
ENGINE = ReplacingMergeTree(version)
{%- endif %}
ORDER BY (team_id, id)
