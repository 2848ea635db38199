-- Purpose: keeps every invalid message raw, with topic, partition, offset and every reason.
-- Reads:   kafka_events.
-- Writes:  events_dead_letter.
-- Runs on: every node.
{% from 'events/conversions.sql' import reason %}{% set other_views = ['events_mv'] %}
{%- set reasons %}
            {%- for column in events.checked if column.rank <= 1 %}
            {{ reason(column) }},
            {%- endfor %}
            {%- for column in events.texts %}
            if(JSONType(bracketed, '{{ column.name }}') IN ('Array', 'Object'), '{{ column.name }}: an object or a list', ''),
            {%- endfor %}
            {%- for column in events.checked if column.rank > 1 %}
            {{ reason(column) }}{{ "," if not loop.last }}
            {%- endfor %}
{%- endset %}
{%- set names = events.required_names %}
{%- set message_file = 'events/message.sql' %}{% set valid_file = 'events/is_valid_event.sql' %}
{%- set view = 'events_dead_letter_mv' %}{% set target = 'events_dead_letter' %}
{%- include 'events/dead_letter_view.sql' %}
