-- Purpose: every version of every distinct id, whole on every node, so that no JOIN crosses the network.
-- Reads:   what person_distinct_id_mv sends.
-- Writes:  nothing.
-- Runs on: every node; where tables are replicated all nodes of all shards are replicas of this one table.
--
-- Merges keep the greatest version sooner or later; queries must not rely on it: see the view person_distinct_ids. Small
-- granules, since one distinct id is looked up more often than all.
CREATE TABLE {{ database }}.person_distinct_id
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
