{#- Keys with their bucket, and 48 bits of a hash of their content. The same in ClickHouse: node_hashed.sql. -#}
SELECT
    key,
    ('x' || substr(md5(key), 1, 4))::bit(16)::int AS bucket,
    ('x' || substr(md5(content), 1, 12))::bit(48)::bigint AS hash
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_' ~ kind ~ '.sql' %}{% endfilter %}
) AS contents
