{#- Keys with their digest and 48 bits of a hash of their content, both of UTF-8. The first 16 bits
    of a digest are its bucket. node_hashed.sql computes the same in ClickHouse. -#}
SELECT
    id,
    key,
    md5(convert_to(key, 'UTF8')) AS digest,
    ('x' || substr(md5(convert_to(key, 'UTF8')), 1, 4))::bit(16)::int AS bucket,
    ('x' || substr(md5(convert_to(content, 'UTF8')), 1, 12))::bit(48)::bigint AS hash
FROM
(
{% filter indent(4, true) %}{% include 'audit/postgres_' ~ kind ~ '.sql' %}{% endfilter %}
) AS contents
