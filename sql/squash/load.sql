-- Purpose: takes the distinct ids of a round. The same ones may have been taken before a kill.
-- Runs on: the first node.
INSERT INTO {{ database }}.person_squash (team_id, distinct_id, person_id, version)
SETTINGS insert_deduplicate = 0
SELECT team_id, distinct_id, person_id, version
FROM
(
{% filter indent(4, true) %}{% include 'squash/set.sql' %}{% endfilter %}
)
