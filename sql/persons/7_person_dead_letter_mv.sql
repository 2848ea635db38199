-- Purpose: keeps every message of the persons' topic that is no person, raw, with its place and every reason.
-- Reads:   kafka_person.
-- Writes:  person_dead_letter.
-- Runs on: every node.
{% set kafka_table = 'kafka_person' %}{% set other_view = 'person_mv' -%}
CREATE MATERIALIZED VIEW {{ database }}.person_dead_letter_mv TO {{ database }}.person_dead_letter
(
{% filter indent(4, true) %}{% include 'events/dead_letter_columns.sql' %}{% endfilter %}
)
AS SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    multiIf(
        NOT isValidJSON(message), 'not valid JSON, or a number that no 64-bit type holds',
        NOT is_object, 'not a JSON object',
        arrayStringConcat(arrayFilter(reason -> (reason != ''), [
            if(message_id IS NULL, 'id: missing or not a UUID', ''),
            if(message_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(message_version < 0, 'version: missing or not a whole number from 0 to 2^63 - 1', ''),
            if(message_is_deleted NOT IN ('0', '1'), 'is_deleted: missing or not 0 or 1', ''),
            if((message_is_deleted != '1') AND (message_created_at IS NULL), 'created_at: missing or not a date and time from 1900 to 2299', ''),
            if((message_is_deleted != '1') AND (field.properties IS NULL), 'properties: missing', ''),
            if((message_is_deleted != '1') AND (message_is_identified NOT IN ('0', '1')), 'is_identified: missing or not 0 or 1', '')
        ]), '; ')) AS error,
    message AS raw_message,
    message_time AS _timestamp
FROM
(
{% filter indent(4, true) %}{% include 'persons/message.sql' %}{% endfilter %}
)
WHERE NOT ({% include 'persons/person_sound.sql' %})
