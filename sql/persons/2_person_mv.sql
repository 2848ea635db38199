-- Purpose: turns valid messages into versions of persons.
-- Reads:   kafka_person.
-- Writes:  person.
-- Runs on: every node.
{% set kafka_table = 'kafka_person' %}{% set other_views = ['person_dead_letter_mv'] -%}{%- from 'events/properties.sql' import properties -%}
CREATE MATERIALIZED VIEW {{ database }}.person_mv TO {{ database }}.person
(
{% filter indent(4, true) %}{% include 'persons/person_columns.sql' %}{% endfilter %}
)
AS SELECT
    assumeNotNull(message_id) AS id,
    ifNull(message_created_at, toDateTime64(0, 3, 'UTC')) AS created_at,
    assumeNotNull(message_team_id) AS team_id,
    {{ properties() }} AS properties,
    message_is_identified = '1' AS is_identified,
    message_is_deleted = '1' AS is_deleted,
    message_version AS version,
    message_time AS _timestamp,
    _offset AS _offset
FROM
(
{% filter indent(4, true) %}{% include 'persons/message.sql' %}{% endfilter %}
)
WHERE {% include 'persons/is_valid_person.sql' %}
