-- Purpose: turns valid messages into versions of distinct ids.
-- Reads:   kafka_person_distinct_id.
-- Writes:  person_distinct_id.
-- Runs on: every node.
{% set kafka_table = 'kafka_person_distinct_id' %}{% set other_view = 'person_distinct_id_dead_letter_mv' -%}
CREATE MATERIALIZED VIEW {{ database }}.person_distinct_id_mv TO {{ database }}.person_distinct_id
(
{% filter indent(4, true) %}{% include 'persons/person_distinct_id_columns.sql' %}{% endfilter %}
)
AS SELECT
    assumeNotNull(message_team_id) AS team_id,
    assumeNotNull(field.distinct_id) AS distinct_id,
    assumeNotNull(message_person_id) AS person_id,
    message_is_deleted = '1' AS is_deleted,
    message_version AS version,
    message_time AS _timestamp,
    _offset AS _offset
FROM
(
{% filter indent(4, true) %}{% include 'persons/message.sql' %}{% endfilter %}
)
WHERE {% include 'persons/is_valid_distinct_id.sql' %}
