{#- Each distinct id of an existing person, with that person or the person it was merged into. -#}
{% if merged_into_id -%}
WITH RECURSIVE merged (id, into_id, merges) AS
(
    SELECT {{ id }}, {{ merged_into_id }}, 1 FROM {{ person }}
    WHERE {{ merged_into_id }} IS NOT NULL{% if is_deleted %} AND {{ is_deleted }} IS NOT TRUE{% endif %}
    UNION ALL
    SELECT merged.id, person.{{ merged_into_id }}, merged.merges + 1
    FROM merged
    JOIN {{ person }} AS person ON person.{{ id }} = merged.into_id
    WHERE person.{{ merged_into_id }} IS NOT NULL{% if is_deleted %} AND person.{{ is_deleted }} IS NOT TRUE{% endif %} AND merged.merges < 16
),
survivors AS (SELECT DISTINCT ON (id) id, into_id FROM merged ORDER BY id, merges DESC)
{% endif -%}
SELECT
    mapping.{{ mapping_id }} AS id,
    mapping.{{ mapping_team_id }}::text || ':' || mapping.{{ distinct_id }} AS key,
    person.{{ uuid }}::text AS content
FROM {{ mapping }} AS mapping
{% if merged_into_id -%}
LEFT JOIN survivors ON survivors.id = mapping.{{ person_id }}
JOIN {{ person }} AS person ON person.{{ id }} = coalesce(survivors.into_id, mapping.{{ person_id }})
{% else -%}
JOIN {{ person }} AS person ON person.{{ id }} = mapping.{{ person_id }}
{% endif -%}
WHERE mapping.{{ mapping_team_id }} IS NOT NULL AND mapping.{{ distinct_id }} IS NOT NULL AND person.{{ uuid }} IS NOT NULL
{%- if mapping_is_deleted %}
    AND mapping.{{ mapping_is_deleted }} IS NOT TRUE
{%- endif %}
{%- if is_deleted %}
    AND person.{{ is_deleted }} IS NOT TRUE
{%- endif %}
{%- if merged_into_id %}
    AND person.{{ merged_into_id }} IS NULL
{%- endif %}
