{#- Each distinct id, deleted ones included. -#}
{%- set key = "concat(toString(team_id), ':', distinct_id)" -%}
SELECT
    {{ key }} AS key,
    toString(argMax(person_id, version)) AS content,
    toUInt64(greatest(max(version), 0)) AS newest,
    argMax(is_deleted, version) AS gone,
    max(is_deleted) AS was_deleted
FROM {{ database }}.{{ distinct_id_table }}
{% include 'audit/node_page.sql' %}
GROUP BY team_id, distinct_id
