-- Purpose: keeps every message that is not an event, raw, with its place and every reason.
-- Reads:   kafka_events.
-- Writes:  events_dead_letter.
-- Runs on: every node.
CREATE MATERIALIZED VIEW {{ database }}.events_dead_letter_mv TO {{ database }}.events_dead_letter
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
            if(event_uuid IS NULL, 'uuid: missing or not a UUID', ''),
            if(field.event IS NULL, 'event: missing', ''),
            if(field.distinct_id IS NULL, 'distinct_id: missing', ''),
            if(event_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(event_timestamp IS NULL, 'timestamp: missing or not a date and time from 1900 to 2299', ''),
            if(isNull(field.created_at) != isNull(event_created_at), 'created_at: not a date and time from 1900 to 2299', '')
        ]), '; ')) AS error,
    message AS raw_message,
    message_time AS _timestamp
FROM
(
{% filter indent(4, true) %}{% set other_view = 'events_mv' %}{% include 'events/message.sql' %}{% endfilter %}
)
WHERE NOT ({% include 'events/sound.sql' %})
