{#- Parsing of a message of either topic of persons, shared by its views. Applications send null as a
    version of 0, and flags as booleans. A version below 0 is a missing or invalid one. -#}
{%- macro flag(field) -%}
transform(ifNull({{ field }}, ''), ['true', 'false'], ['1', '0'])
{%- endmacro -%}
{%- from 'events/timestamp.sql' import timestamp -%}
{%- set parsed %}
    toUUIDOrNull(field.id) AS message_id,
    toUUIDOrNull(field.person_id) AS message_person_id,
    toInt64OrNull(field.team_id) AS message_team_id,
    ifNull(toInt64OrNull(field.version), if(JSONHas(if(isNull(field.version), message, ''), 'version') = 1, 0, -1)) AS message_version,
    {{ flag("field.is_deleted") }} AS message_is_deleted,
    {{ flag("field.is_identified") }} AS message_is_identified,
    {{ timestamp("field.created_at", 3) }} AS message_created_at,
    ifNull(field.mapping, 'copied') AS message_mapping,
    if(match(ifNull(field.distinct_id, ''), '^[\\[{]'), message, '') AS bracketed,
{%- endset -%}
{%- set shape -%}
Tuple(id Nullable(String), created_at Nullable(String), team_id Nullable(String), properties Nullable(String), is_identified Nullable(String), is_deleted Nullable(String), version Nullable(String), distinct_id Nullable(String), person_id Nullable(String), mapping Nullable(String))
{%- endset -%}
{%- include 'events/read_message.sql' -%}
