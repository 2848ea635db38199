-- Purpose: keeps every invalid message of the person topic raw, with topic, partition, offset and
--          every reason.
-- Reads:   kafka_person.
-- Writes:  person_dead_letter.
-- Runs on: every node.
{% set kafka_table = 'kafka_person' %}{% set other_view = 'person_mv' -%}{%- from 'events/moment.sql' import timestamp_range -%}
CREATE MATERIALIZED VIEW {{ database }}.person_dead_letter_mv TO {{ database }}.person_dead_letter
(
{% filter indent(4, true) %}{% include 'events/dead_letter_columns.sql' %}{% endfilter %}
)
AS SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    multiIf(
        startsWith(message, '\xEF\xBB\xBF'), 'begins with a byte order mark',
        NOT isValidJSON(message), {% filter indent(8) %}{% include 'events/not_json.sql' %}{% endfilter %},
        NOT is_object, 'not a JSON object',
        arrayStringConcat(arrayConcat(arrayFilter(reason -> (reason != ''), [
            if(message_id IS NULL, 'id: missing or not a UUID', ''),
            if(message_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(message_version < 0, 'version: missing or not a whole number from 0 to 2^63 - 1', ''),
            if(message_is_deleted NOT IN ('0', '1'), 'is_deleted: missing or not 0 or 1', ''),
            if((message_is_deleted != '1') AND (message_created_at IS NULL), 'created_at: missing or not a date and time from {{ timestamp_range }}', ''),
            if((message_is_deleted != '1') AND (field.properties IS NULL), 'properties: missing', ''),
            if((message_is_deleted != '1') AND (message_is_identified NOT IN ('0', '1')), 'is_identified: missing or not 0 or 1', '')
        ]), {% set names = "'id', 'team_id', 'version', 'is_deleted', 'created_at', 'is_identified'" %}{% include 'events/repeated.sql' %}), '; ')) AS error,
    message AS raw_message,
    message_time AS _timestamp
FROM
(
{% filter indent(4, true) %}{% include 'persons/message.sql' %}{% endfilter %}
)
WHERE NOT ({% include 'persons/person_sound.sql' %})
