{#- Parsing of an event's message, shared by both views. -#}
{%- from 'events/conversions.sql' import parsed as parsed_value -%}
{%- set kafka_table = 'kafka_events' -%}
{%- set parsed %}
{%- for column in events.parsed %}
    {{ parsed_value(column) }} AS {{ column.alias }},
{%- endfor %}
    {#- The parser returns an object or a list as its text. A field that starts like one gets its
        type from a second parse of the message. For all other rows the text to parse is empty. #}
    if(match(concat({% for column in events.texts %}left(ifNull({{ column.text }}, ''), 1){{ ", " if not loop.last }}{% endfor %}), '[\\[{]'), message, '') AS bracketed,
{%- endset -%}
{%- set shape = events.shape -%}
{%- include 'events/read_message.sql' -%}
