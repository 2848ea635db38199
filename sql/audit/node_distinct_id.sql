{#- Each distinct id, also those that belong to nobody any more. -#}
SELECT
    concat(toString(team_id), ':', distinct_id) AS key,
    toString(argMax(person_id, version)) AS content,
    toUInt64(greatest(max(version), 0)) AS newest,
    argMax(is_deleted, version) AS gone,
    max(is_deleted) AS was_deleted
FROM {{ database }}.person_distinct_id
GROUP BY team_id, distinct_id
