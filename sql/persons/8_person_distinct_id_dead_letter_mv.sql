-- Purpose: keeps every invalid message of the distinct id topic raw, with topic, partition, offset
--          and every reason.
-- Reads:   kafka_person_distinct_id.
-- Writes:  person_dead_letter.
-- Runs on: every node.
{% set kafka_table = 'kafka_person_distinct_id' %}{% set other_views = ['person_distinct_id_mv'] + persons.overrides_views %}
{%- set reasons %}
            if(message_team_id IS NULL, 'team_id: missing or not a 64-bit integer', ''),
            if(field.distinct_id IS NULL, 'distinct_id: missing', ''),
            if(JSONType(bracketed, 'distinct_id') IN ('Array', 'Object'), 'distinct_id: an object or a list', ''),
            if(message_person_id IS NULL, 'person_id: missing or not a UUID', ''),
            if(message_version < 0, 'version: missing or not a whole number from 0 to 2^63 - 1', ''),
            if(message_is_deleted NOT IN ('0', '1'), 'is_deleted: missing or not true or false', '')
{%- endset %}
{%- set names = "'team_id', 'distinct_id', 'person_id', 'version', 'is_deleted'" %}
{%- set message_file = 'persons/message.sql' %}{% set valid_file = 'persons/is_valid_distinct_id.sql' %}
{%- set view = 'person_distinct_id_dead_letter_mv' %}{% set target = 'person_dead_letter' %}
{%- include 'events/dead_letter_view.sql' %}
