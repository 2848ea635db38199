{#- The current persons of distinct ids that changed last before the cutoff, by the person rule. The
    zero UUID is no person: the lookup has it for a distinct id that it lacks. -#}
SELECT
    ids.team_id AS team_id,
    ids.distinct_id AS distinct_id,
    argMax(ids.person_id, (ids.version, ids.is_deleted, ids.person_id)) AS person_id,
    max(ids.version) AS version
FROM {{ database }}.{{ source }} AS ids
{%- if rounds > 1 %}
WHERE (cityHash64(ids.team_id, ids.distinct_id) % {{ rounds }}) = {{ round }}
{%- endif %}
GROUP BY ids.team_id, ids.distinct_id
HAVING (argMax(ids.is_deleted, (ids.version, ids.is_deleted)) = 0)
    AND (argMax(ids._timestamp, ids.version) < toDateTime({{ cutoff }}))
    AND (person_id != toUUID('00000000-0000-0000-0000-000000000000'))
