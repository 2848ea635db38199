{#- Keys with their digest, whose first 16 bits are their bucket, and 48 bits of a hash of their content. The same in PostgreSQL:
    postgres_hashed.sql. With `page` only keys whose bucket's bit is set there. -#}
SELECT
    key,
    MD5(key) AS digest,
    reinterpretAsUInt64(reverse(substring(MD5(content), 1, 6))) AS hash,
    newest,
    gone,
    was_deleted
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_' ~ kind ~ '.sql' %}{% endfilter %}
)
