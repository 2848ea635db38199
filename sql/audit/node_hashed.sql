{#- Keys with their bucket, and 48 bits of a hash of their content. The same in PostgreSQL: postgres_hashed.sql. -#}
SELECT
    key,
    toUInt16(reinterpretAsUInt16(reverse(substring(MD5(key), 1, 2)))) AS bucket,
    reinterpretAsUInt64(reverse(substring(MD5(content), 1, 6))) AS hash,
    newest,
    gone,
    was_deleted
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_' ~ kind ~ '.sql' %}{% endfilter %}
)
