{#- A view of invalid messages, for the files that set `view`, `target`, `message_file`, `valid_file`,
    `names` (of fields that may not be repeated) and `reasons` (of one message, empty texts count as
    none). -#}
CREATE MATERIALIZED VIEW {{ database }}.{{ view }} TO {{ database }}.{{ target }}
(
{% filter indent(4, true) %}{% include 'events/dead_letter_columns.sql' %}{% endfilter %}
)
AS SELECT
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    multiIf(
        startsWith(message, '\xEF\xBB\xBF'), 'begins with a byte order mark',
        NOT isValidJSON(message), {% filter indent(8) %}{% include 'events/not_json.sql' %}{% endfilter %},
        NOT is_object, 'not a JSON object',
        arrayStringConcat(arrayConcat(arrayFilter(reason -> (reason != ''), [
{{- reasons }}
        ]), {% include 'events/repeated.sql' %}), '; ')) AS error,
    message AS raw_message,
    message_time AS _timestamp
FROM
(
{% filter indent(4, true) %}{% include message_file %}{% endfilter %}
)
WHERE NOT ({% include valid_file %})
