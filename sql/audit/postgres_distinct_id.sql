{#- Each distinct id of a person that is there. -#}
SELECT
    mapping.{{ mapping_team_id }}::text || ':' || mapping.{{ distinct_id }} AS key,
    person.{{ uuid }}::text AS content
FROM {{ mapping }} AS mapping
JOIN {{ person }} AS person ON person.{{ id }} = mapping.{{ person_id }}
WHERE mapping.{{ mapping_team_id }} IS NOT NULL AND mapping.{{ distinct_id }} IS NOT NULL AND person.{{ uuid }} IS NOT NULL
