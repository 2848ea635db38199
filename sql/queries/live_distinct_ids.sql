{#- The live distinct ids of a team, by the person rule: the greatest version, among equal ones a
    deletion, then the greatest person. Reads this node's own table. -#}
SELECT
    ids.distinct_id AS distinct_id,
    argMax(ids.person_id, (ids.version, ids.is_deleted, ids.person_id)) AS person_id
FROM {{ database }}.{{ persons.distinct_id_table }} AS ids
WHERE ids.team_id = {team_id:Int64}
GROUP BY ids.distinct_id
HAVING argMax(ids.is_deleted, (ids.version, ids.is_deleted)) = 0
