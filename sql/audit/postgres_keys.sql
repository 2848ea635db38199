-- Purpose: the keys in ClickHouse of some rows, given their primary keys.
-- Runs on: PostgreSQL. Shape: id, key.
SELECT id, key
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_' ~ kind ~ '.sql' %}{% endfilter %}
) AS contents
WHERE id = ANY ('{{ '{' }}{{ ids }}{{ '}' }}'::bigint[])
