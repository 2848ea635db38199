-- Purpose: all versions of all distinct ids of the node, for its person index.
-- Runs on: every node. Shape: team_id, distinct_id, person_id, version, whether it is a deletion.
SELECT
    team_id,
    distinct_id,
    person_id,
    version,
    toUInt8(is_deleted != 0) AS is_deleted
FROM {{ database }}.{{ table }}
