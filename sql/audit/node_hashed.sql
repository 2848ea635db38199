{#- Keys with their digest and 48 bits of a hash of their content. The first 16 bits of a digest are
    its bucket. postgres_hashed.sql computes the same in PostgreSQL. With `page`, only keys of
    buckets whose bit is set in it. -#}
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
