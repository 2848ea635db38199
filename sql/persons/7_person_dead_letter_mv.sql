-- Purpose: keeps every invalid message of the person topic raw, with topic, partition, offset and
--          every reason.
-- Reads:   kafka_person.
-- Writes:  person_dead_letter.
-- Runs on: every node.
{% from 'events/timestamp.sql' import timestamp_range %}{% set kafka_table = 'kafka_person' %}{% set other_views = ['person_mv'] %}
{%- set reasons %}
            if(message_id IS NULL, 'id: missing or not a UUID', ''),
            if(message_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(message_version < 0, 'version: missing or not a whole number from 0 to 2^63 - 1', ''),
            if(message_is_deleted NOT IN ('0', '1'), 'is_deleted: missing or not true or false', ''),
            if((message_is_deleted != '1') AND (message_created_at IS NULL), 'created_at: missing or not a date and time from {{ timestamp_range }}', ''),
            if((message_is_deleted != '1') AND (field.properties IS NULL), 'properties: missing', ''),
            if((message_is_deleted != '1') AND (message_is_identified NOT IN ('0', '1')), 'is_identified: missing or not true or false', '')
{%- endset %}
{%- set names = "'id', 'team_id', 'version', 'is_deleted', 'created_at', 'is_identified'" %}
{%- set message_file = 'persons/message.sql' %}{% set valid_file = 'persons/is_valid_person.sql' %}
{%- set view = 'person_dead_letter_mv' %}{% set target = 'person_dead_letter' %}
{%- include 'events/dead_letter_view.sql' %}
