-- Purpose: the versions of distinct ids in messages of their topic, by the rule of
--          person_distinct_id_mv, for the person index. Messages come as hexadecimal bytes.
-- Runs on: every node. Shape: team_id, distinct_id, person_id, version, whether it is a deletion.
{% set message_source %}
(
    SELECT
        unhex(arrayJoin(splitByChar(',', '{{ messages }}'))) AS message,
        '' AS _topic,
        toUInt64(0) AS _partition,
        toUInt64(0) AS _offset,
        toDateTime(0) AS _timestamp
)
{% endset %}{% set kafka_table = '' %}{% set other_views = [] %}{% set more = '' -%}
SELECT team_id, distinct_id, person_id, version, toUInt8(is_deleted) AS is_deleted
FROM
(
{% filter indent(4, true) %}{% include 'persons/distinct_id_versions.sql' %}{% endfilter %}
)
