-- Purpose: the number of distinct ids of a round.
-- Runs on: a node. Shape: rows.
SELECT count() AS rows
FROM
(
{% filter indent(4, true) %}{% include 'squash/set.sql' %}{% endfilter %}
)
