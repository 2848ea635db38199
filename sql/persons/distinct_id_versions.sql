{#- Versions of distinct ids from their messages, with the columns in `more`. -#}
SELECT
    assumeNotNull(message_team_id) AS team_id,
    assumeNotNull(field.distinct_id) AS distinct_id,
    assumeNotNull(message_person_id) AS person_id,
    message_is_deleted = '1' AS is_deleted,
    message_version AS version,
    message_time AS _timestamp,
    _offset AS _offset{{ more }}
FROM
(
{% filter indent(4, true) %}{% include 'persons/message.sql' %}{% endfilter %}
)
WHERE {% include 'persons/is_valid_distinct_id.sql' %}
