{#- Parsing of an event's message, shared by both views. -#}
{%- from 'events/timestamp.sql' import timestamp -%}
{%- set kafka_table = 'kafka_events' -%}
{%- set parsed %}
    toUUIDOrNull(field.uuid) AS event_uuid,
    toInt64OrNull(field.team_id) AS event_team_id,
    {{ timestamp("field.timestamp", 6) }} AS event_timestamp,
    {{ timestamp("field.created_at", 6) }} AS event_created_at,
    {#- The parser returns an object or a list as its text. A field that starts like one gets its
        type from a second parse of the message. For all other rows the text to parse is empty. #}
    if(match(concat(left(ifNull(field.event, ''), 1), left(ifNull(field.distinct_id, ''), 1), left(ifNull(field.elements_hash, ''), 1), left(ifNull(field.elements_chain, ''), 1)), '[\\[{]'), message, '') AS bracketed,
{%- endset -%}
{%- set shape -%}
Tuple(uuid Nullable(String), event Nullable(String), properties Nullable(String), timestamp Nullable(String), team_id Nullable(String), distinct_id Nullable(String), elements_hash Nullable(String), created_at Nullable(String), elements_chain Nullable(String){% for column in events.columns if column.field %}, `{{ column.field }}` {{ column.json_type | replace("'", "\\'") }}{% endfor %})
{%- endset -%}
{%- include 'events/read_message.sql' -%}
