-- Purpose: fills the lookup from person_squash.
-- Runs on: every node.
INSERT INTO {{ database }}.person_squash_lookup (team_id, distinct_id, person_id, version)
SELECT team_id, distinct_id, person_id, version FROM {{ database }}.person_squash
