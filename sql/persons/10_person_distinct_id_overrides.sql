-- Purpose: the distinct ids whose person changed, or was deleted, after events were stored with it.
--          Queries take the person from here, and for all other distinct ids from the event.
-- Reads:   rows of person_distinct_id_overrides_mv.
-- Writes:  none.
-- Runs on: every node, whole, like {{ persons.distinct_id_table }}.
--
-- posthouse persons squash writes these persons into the events, and then removes the rows.
CREATE TABLE {{ database }}.person_distinct_id_overrides
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
{%- if replicated %}
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/noshard/{{ database }}.person_distinct_id_overrides', '{shard}-{replica}', version)
{%- else %}
ENGINE = ReplacingMergeTree(version)
{%- endif %}
ORDER BY (team_id, distinct_id)
SETTINGS index_granularity = 512
