-- Purpose: for each of 65,536 buckets of keys: number of rows in PostgreSQL, and sum of their
--          hashes, which does not depend on the order of rows.
-- Runs on: PostgreSQL.
SELECT bucket, count(*), sum(hash)::numeric(38)
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_hashed.sql' %}{% endfilter %}
) AS hashed
GROUP BY bucket
