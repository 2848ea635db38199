-- Purpose: events whose person is not that of their distinct id, by partition.
-- Runs on: a node of each shard. Shape: partition, events.
SELECT events._partition_id AS partition, count() AS events
FROM {{ database }}.sharded_events AS events
INNER JOIN
(
{%- if is_loaded %}
    SELECT team_id, distinct_id, person_id FROM {{ database }}.person_squash
{%- else %}
{% filter indent(4, true) %}{% include 'squash/set.sql' %}{% endfilter %}
{%- endif %}
) AS squash ON (squash.team_id = events.team_id) AND (squash.distinct_id = events.distinct_id)
WHERE events.person_id != squash.person_id
GROUP BY partition
ORDER BY partition DESC
