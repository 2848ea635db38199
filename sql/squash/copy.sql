-- Purpose: stores the distinct ids of a round that the first node took.
-- Runs on: the other nodes, where tables are not replicated.
INSERT INTO {{ database }}.person_squash (team_id, distinct_id, person_id, version) FORMAT JSONEachRow
