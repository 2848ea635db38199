-- Purpose: the rows of a page, each with its primary key and its hash.
-- Runs on: PostgreSQL. Shape: digest (32 hexadecimal digits), id, hash.
SELECT digest, id, hash
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_hashed.sql' %}{% endfilter %}
) AS hashed
WHERE get_bit('\x{{ page }}'::bytea, bucket) = 1
