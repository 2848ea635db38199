-- Purpose: keeps every invalid message raw, with topic, partition, offset and every reason.
-- Reads:   kafka_events.
-- Writes:  events_dead_letter.
-- Runs on: every node.
{% from 'events/timestamp.sql' import timestamp_range %}{% set other_view = 'events_mv' %}
{%- set reasons %}
            if(event_uuid IS NULL, 'uuid: missing or not a UUID', ''),
            if(field.event IS NULL, 'event: missing', ''),
            if(field.distinct_id IS NULL, 'distinct_id: missing', ''),
            {%- for name in ['event', 'distinct_id', 'elements_hash', 'elements_chain'] %}
            if(JSONType(bracketed, '{{ name }}') IN ('Array', 'Object'), '{{ name }}: an object or a list', ''),
            {%- endfor %}
            if(event_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(event_timestamp IS NULL, 'timestamp: missing or not a date and time from {{ timestamp_range }}', ''),
            if(isNull(field.created_at) != isNull(event_created_at), 'created_at: not a date and time from {{ timestamp_range }}', '')
{%- endset %}
{%- set names = "'uuid', 'event', 'distinct_id', 'team_id', 'timestamp', 'created_at'" %}
{%- set message_file = 'events/message.sql' %}{% set valid_file = 'events/is_valid_event.sql' %}
{%- set view = 'events_dead_letter_mv' %}{% set target = 'events_dead_letter' %}
{%- include 'events/dead_letter_view.sql' %}
