-- Purpose: a team's distinct ids with their current persons.
-- Reads:   person_distinct_id of this node.
-- Writes:  none.
-- Runs on: every node. SELECT * FROM person_distinct_ids(team_id = 2)
CREATE VIEW {{ database }}.person_distinct_ids
AS {% include 'queries/live_distinct_ids.sql' %}
