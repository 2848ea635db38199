-- Purpose: every version of every distinct id, whole on every node, so that no JOIN crosses the
--          network.
-- Reads:   rows of person_distinct_id_mv.
-- Writes:  none.
-- Runs on: every node. Where tables are replicated, all nodes of all shards are replicas of this
--          one table.
--
-- Merges eventually leave only the greatest version. Queries must not rely on it, see the view
-- person_distinct_ids. Granules are small, because one distinct id is looked up more often than all
-- of them.
CREATE TABLE {{ database }}.{{ persons.distinct_id_table }}
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
{%- if replicated %}
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/noshard/{{ database }}.person_distinct_id', '{shard}-{replica}', version)
{%- else %}
ENGINE = ReplacingMergeTree(version)
{%- endif %}
ORDER BY (team_id, distinct_id)
SETTINGS index_granularity = 512
