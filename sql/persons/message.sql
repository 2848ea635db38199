{#- Parsing of a message of either topic, shared by its two views. As in events/message.sql, which
    has the reasons, every expression is total, the JSON is parsed in a separate subquery, and each
    view fails while the other is missing. A version below 0 is a missing or invalid one. -#}
{%- from 'events/moment.sql' import moment -%}
{%- from 'events/properties.sql' import unquoted -%}
SELECT
    message,
    field,
    match(message, '^\\s*\\{') AS is_object,
    toUUIDOrNull(field.id) AS message_id,
    toUUIDOrNull(field.person_id) AS message_person_id,
    toInt64OrNull(field.team_id) AS message_team_id,
    ifNull(toInt64OrNull(field.version), -1) AS message_version,
    ifNull(field.is_deleted, '') AS message_is_deleted,
    ifNull(field.is_identified, '') AS message_is_identified,
    {{ moment("field.created_at", 3) }} AS message_created_at,
    if(match(ifNull(field.distinct_id, ''), '^[\\[{]'), message, '') AS bracketed,
    {{ unquoted() }} AS unquoted,
    _topic,
    _partition,
    _offset,
    ifNull(_timestamp, toDateTime(0)) AS message_time
FROM
(
    SELECT
        message,
        JSONExtract(message, 'Tuple(id Nullable(String), created_at Nullable(String), team_id Nullable(String), properties Nullable(String), is_identified Nullable(String), is_deleted Nullable(String), version Nullable(String), distinct_id Nullable(String), person_id Nullable(String))') AS field,
        _topic,
        _partition,
        _offset,
        _timestamp
    FROM {{ database }}.{{ kafka_table }}
    WHERE hasColumnInTable('{{ database }}', '{{ other_view }}', '_timestamp')
)
