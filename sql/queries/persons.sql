-- Purpose: a team's current persons.
-- Reads:   person of this node.
-- Writes:  none.
-- Runs on: every node. SELECT * FROM persons(team_id = 2)
--
-- The greatest version wins, among equal ones a deletion. max(is_deleted) = 0 would hide a
-- re-created person.
CREATE VIEW {{ database }}.persons
AS SELECT
    versions.id AS id,
    argMax(versions.created_at, versions.version) AS created_at,
    argMax(versions.properties, versions.version) AS properties,
    argMax(versions.is_identified, versions.version) AS is_identified,
    max(versions.version) AS version
FROM {{ database }}.person AS versions
WHERE versions.team_id = {team_id:Int64}
GROUP BY versions.id
HAVING argMax(versions.is_deleted, (versions.version, versions.is_deleted)) = 0
