{#- The live distinct ids of a team, by the greatest version: a subquery of this node's own copy. -#}
SELECT
    ids.distinct_id AS distinct_id,
    argMax(ids.person_id, ids.version) AS person_id
FROM {{ database }}.person_distinct_id AS ids
WHERE ids.team_id = {team_id:Int64}
GROUP BY ids.distinct_id
HAVING argMax(ids.is_deleted, ids.version) = 0
