-- Purpose: a team's persons whose property currently has a value; a number is written as text, an
--          object as its JSON.
-- Reads:   person of this node, twice: first persons with the value in any version, then all
--          versions of these.
-- Writes:  none.
-- Runs on: every node. SELECT * FROM persons_where(team_id = 2, property = 'plan', value = 'pro')
--
-- The first pass keeps the second small: only candidates are aggregated, with their properties.
CREATE VIEW {{ database }}.persons_where
AS SELECT
    versions.id AS id,
    argMax(versions.created_at, versions.version) AS created_at,
    argMax(versions.properties, versions.version) AS properties,
    argMax(versions.is_identified, versions.version) AS is_identified,
    max(versions.version) AS version
FROM {{ database }}.person AS versions
WHERE (versions.team_id = {team_id:Int64}) AND (versions.id IN
(
    SELECT candidates.id
    FROM {{ database }}.person AS candidates
    WHERE (candidates.team_id = {team_id:Int64})
        AND (JSONExtract(candidates.properties, {property:String}, 'Nullable(String)') = {value:String})
))
GROUP BY versions.id
HAVING (argMax(versions.is_deleted, (versions.version, versions.is_deleted)) = 0)
    AND (JSONExtract(argMax(versions.properties, versions.version), {property:String}, 'Nullable(String)') = {value:String})
