-- Purpose: the distinct ids of a round, to copy them to nodes whose tables are not replicated.
-- Runs on: the first node. Shape: team_id, distinct_id, person_id, version.
SELECT team_id, distinct_id, person_id, version FROM {{ database }}.person_squash
