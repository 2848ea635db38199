{#- Parsing of a message of either topic of persons, shared by its two views. A version below 0 is a
    missing or invalid one. -#}
{%- from 'events/timestamp.sql' import timestamp -%}
{%- set parsed %}
    toUUIDOrNull(field.id) AS message_id,
    toUUIDOrNull(field.person_id) AS message_person_id,
    toInt64OrNull(field.team_id) AS message_team_id,
    ifNull(toInt64OrNull(field.version), -1) AS message_version,
    ifNull(field.is_deleted, '') AS message_is_deleted,
    ifNull(field.is_identified, '') AS message_is_identified,
    {{ timestamp("field.created_at", 3) }} AS message_created_at,
    if(match(ifNull(field.distinct_id, ''), '^[\\[{]'), message, '') AS bracketed,
{%- endset -%}
{%- set shape -%}
Tuple(id Nullable(String), created_at Nullable(String), team_id Nullable(String), properties Nullable(String), is_identified Nullable(String), is_deleted Nullable(String), version Nullable(String), distinct_id Nullable(String), person_id Nullable(String))
{%- endset -%}
{%- include 'events/read_message.sql' -%}
