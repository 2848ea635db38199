-- Purpose: {{ persons.distinct_id_table }} under its other name.
-- Reads:   {{ persons.distinct_id_table }} of this node.
-- Writes:  none.
-- Runs on: every node.
CREATE VIEW {{ database }}.{{ persons.distinct_id_view }}
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
AS SELECT team_id, distinct_id, person_id, is_deleted, version, _timestamp, _offset
FROM {{ database }}.{{ persons.distinct_id_table }}
