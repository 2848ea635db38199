-- Purpose: keeps the versions of distinct ids that change an earlier person.
-- Reads:   kafka_person_distinct_id, {{ persons.distinct_id_table }} and its own table.
-- Writes:  person_distinct_id_overrides.
-- Runs on: every node.
--
-- A deletion is kept, so that the person of a distinct id that comes back is kept too. A version
-- too many does no harm, because its person is the current one.
{% set kafka_table = 'kafka_person_distinct_id' %}{% set other_views = ['person_distinct_id_mv', 'person_distinct_id_dead_letter_mv'] -%}
CREATE MATERIALIZED VIEW {{ database }}.person_distinct_id_overrides_mv TO {{ database }}.person_distinct_id_overrides
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
AS SELECT team_id, distinct_id, person_id, is_deleted, version, _timestamp, _offset
FROM
(
{% filter indent(4, true) %}{% set read_where = '1' %}{% include 'persons/distinct_id_history.sql' %}{% endfilter %}
)
WHERE changes
    OR arrayExists(stored -> (stored != person_id), persons)
    OR ((team_id, distinct_id) IN
    (
        SELECT team_id, distinct_id
        FROM {{ database }}.person_distinct_id_overrides
        WHERE (team_id, distinct_id) IN ({% filter indent(12) %}{% set keys_where = '1' %}{% include 'persons/distinct_id_keys.sql' %}{% endfilter %})
    ))
