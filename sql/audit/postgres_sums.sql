-- Purpose: for each of 65,536 buckets of keys how many rows PostgreSQL has, and a sum of their hashes, which no order changes.
-- Runs on: PostgreSQL.
SELECT bucket, count(*), sum(hash)::numeric(38)
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_hashed.sql' %}{% endfilter %}
) AS hashed
GROUP BY bucket
