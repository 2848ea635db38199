{#- Each distinct id that belongs to somebody. -#}
SELECT
    concat(toString(team_id), ':', distinct_id) AS key,
    toString(argMax(person_id, version)) AS content,
    toUInt64(greatest(max(version), 0)) AS newest,
    max(is_deleted) AS was_deleted
FROM {{ database }}.person_distinct_id
GROUP BY team_id, distinct_id
HAVING argMax(is_deleted, version) = 0
