-- Purpose: keeps every invalid message raw, with topic, partition, offset and every reason.
-- Reads:   kafka_events.
-- Writes:  events_dead_letter.
-- Runs on: every node.
{%- from 'events/moment.sql' import timestamp_range %}
CREATE MATERIALIZED VIEW {{ database }}.events_dead_letter_mv TO {{ database }}.events_dead_letter
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
            if(event_uuid IS NULL, 'uuid: missing or not a UUID', ''),
            if(field.event IS NULL, 'event: missing', ''),
            if(field.distinct_id IS NULL, 'distinct_id: missing', ''),
            {%- for name in ['event', 'distinct_id', 'elements_hash', 'elements_chain'] %}
            if(JSONType(bracketed, '{{ name }}') IN ('Array', 'Object'), '{{ name }}: an object or a list', ''),
            {%- endfor %}
            if(event_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(event_timestamp IS NULL, 'timestamp: missing or not a date and time from {{ timestamp_range }}', ''),
            if(isNull(field.created_at) != isNull(event_created_at), 'created_at: not a date and time from {{ timestamp_range }}', '')
        ]), {% set names = "'uuid', 'event', 'distinct_id', 'team_id', 'timestamp', 'created_at'" %}{% include 'events/repeated.sql' %}), '; ')) AS error,
    message AS raw_message,
    message_time AS _timestamp
FROM
(
{% filter indent(4, true) %}{% set other_view = 'events_mv' %}{% include 'events/message.sql' %}{% endfilter %}
)
WHERE NOT ({% include 'events/sound.sql' %})
