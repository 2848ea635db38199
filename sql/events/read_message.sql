{#- Reading of a message, for the files that set `kafka_table`, `other_views`, `shape` (the type of the
    message's fields) and `parsed` (values parsed from the fields). Every expression is total,
    because an exception in a view makes the engine read the same block forever. The JSON is parsed
    in a separate subquery, because the engine analyses a view for every block, and an alias used
    ten times is analysed ten times. -#}
{%- from 'events/properties.sql' import unquoted -%}
SELECT
    message,
    field,
    match(message, '^\\s*\\{') AS is_object,
{{- parsed }}
    {{ unquoted() }} AS unquoted,
    _topic,
    _partition,
    _offset,
    ifNull(_timestamp, toDateTime(0)) AS message_time
FROM
(
    SELECT
        message,
        JSONExtract(message, '{{ shape }}') AS field,
        _topic,
        _partition,
        _offset,
        _timestamp
    FROM {{ message_source | default(database ~ '.' ~ kafka_table) }}
    {#- Operators often drop a view to pause ingestion. The engine would continue with the other
        view, and the messages of the dropped one would be lost. So each view names the others: while
        one is missing, the query fails, and the block is read again until all exist. This covers
        the engine's start too, in any order of loading. #}
    {%- if other_views %}
    WHERE {% for view in other_views %}{{ ' AND ' if not loop.first }}hasColumnInTable('{{ database }}', '{{ view }}', '_timestamp'){% endfor %}
    {%- endif %}
)
