{#- The one reading of a message, shared by both views. Every expression is total: an exception in a view would make the
    engine read the same block for ever. The JSON is parsed in a query of its own, because the engine analyses a view for
    every block, and an alias used ten times is analysed ten times. -#}
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
    {#- The parser gives an object or a list as its text, so that only texts which begin like one are looked at again, by
        their type: the message is parsed anew for these rows alone, for all others it is the empty text. #}
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
    {#- Whoever drops one view to pause ingestion, as is the custom, would lose the messages that belong to it, because the
        engine goes on with the other. So each view names the other one: while that is missing the query fails, and the
        block is read again until both are there. The engine's start is covered too, whichever view it loads first. #}
    WHERE hasColumnInTable('{{ database }}', '{{ other_view }}', '_timestamp')
)
