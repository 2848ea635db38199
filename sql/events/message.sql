{#- Parsing of a message, shared by both views. Every expression is total, because an exception in a
    view makes the engine read the same block forever. The JSON is parsed in a separate subquery,
    because the engine analyses a view for every block, and an alias used ten times is analysed ten
    times. -#}
{%- from 'events/moment.sql' import moment -%}
{%- from 'events/properties.sql' import unquoted -%}
SELECT
    message,
    field,
    match(message, '^\\s*\\{') AS is_object,
    toUUIDOrNull(field.uuid) AS event_uuid,
    toInt64OrNull(field.team_id) AS event_team_id,
    {{ moment("field.timestamp", 6) }} AS event_timestamp,
    {{ moment("field.created_at", 6) }} AS event_created_at,
    {#- The parser returns an object or a list as its text. A field that starts like one gets its
        type from a second parse of the message. For all other rows the text to parse is empty. #}
    if(match(concat(left(ifNull(field.event, ''), 1), left(ifNull(field.distinct_id, ''), 1), left(ifNull(field.elements_hash, ''), 1), left(ifNull(field.elements_chain, ''), 1)), '[\\[{]'), message, '') AS bracketed,
    {{ unquoted() }} AS unquoted,
    _topic,
    _partition,
    _offset,
    ifNull(_timestamp, toDateTime(0)) AS message_time
FROM
(
    SELECT
        message,
        JSONExtract(message, 'Tuple(uuid Nullable(String), event Nullable(String), properties Nullable(String), timestamp Nullable(String), team_id Nullable(String), distinct_id Nullable(String), elements_hash Nullable(String), created_at Nullable(String), elements_chain Nullable(String){% for column in events.columns if column.field %}, `{{ column.field }}` {{ column.json_type | replace("'", "\\'") }}{% endfor %})') AS field,
        _topic,
        _partition,
        _offset,
        _timestamp
    FROM {{ database }}.kafka_events
    {#- Operators often drop a view to pause ingestion. The engine would continue with the other
        view, and the messages of the dropped one would be lost. So each view names the other: while
        that is missing, the query fails, and the block is read again until both exist. This covers
        the engine's start too, in any order of loading. #}
    WHERE hasColumnInTable('{{ database }}', '{{ other_view }}', '_timestamp')
)
