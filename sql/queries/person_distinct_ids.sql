-- Purpose: a team's distinct ids and the persons that they belong to now.
-- Reads:   person_distinct_id of this node.
-- Writes:  nothing.
-- Runs on: every node. SELECT * FROM person_distinct_ids(team_id = 2)
CREATE VIEW {{ database }}.person_distinct_ids
AS {% include 'queries/live_distinct_ids.sql' %}
