-- Purpose: the rows of some buckets, each with its hash.
-- Runs on: PostgreSQL.
SELECT key, hash
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_hashed.sql' %}{% endfilter %}
) AS hashed
WHERE bucket = ANY ('{{ '{' }}{{ buckets }}{{ '}' }}'::int[])
