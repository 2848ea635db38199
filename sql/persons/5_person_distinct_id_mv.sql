-- Purpose: turns valid messages into versions of distinct ids.
-- Reads:   kafka_person_distinct_id.
{%- if persons.overrides_views %}
--          Deleted ones keep their last person from {{ persons.distinct_id_table }}.
{%- endif %}
-- Writes:  {{ persons.distinct_id_table }}.
-- Runs on: every node.
{% set kafka_table = 'kafka_person_distinct_id' %}{% set other_views = ['person_distinct_id_dead_letter_mv'] + persons.overrides_views -%}
CREATE MATERIALIZED VIEW {{ database }}.person_distinct_id_mv TO {{ database }}.{{ persons.distinct_id_table }}
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
{%- if persons.overrides_views %}
AS SELECT team_id, distinct_id, person_id, is_deleted, version, _timestamp, _offset
FROM
(
{% filter indent(4, true) %}{% set read_where = "key.is_deleted IN ('1', 'true')" %}{% include 'persons/distinct_id_history.sql' %}{% endfilter %}
)
{%- else %}
AS {% set more = '' %}{% include 'persons/distinct_id_versions.sql' %}
{%- endif %}
