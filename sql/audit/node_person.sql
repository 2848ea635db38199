{#- Each person, deleted ones included, as a key and the text expected from PostgreSQL. -#}
{%- set key = "concat(toString(team_id), ':', toString(id))" -%}
SELECT
    {{ key }} AS key,
    concat(toString(argMax(is_identified, version)), '|', toString(toUnixTimestamp64Milli(argMax(created_at, version))), '|', argMax(properties, version)) AS content,
    max(version) AS newest,
    argMax(is_deleted, version) AS gone,
    max(is_deleted) AS was_deleted
FROM {{ database }}.person
{% include 'audit/node_page.sql' %}
GROUP BY team_id, id
