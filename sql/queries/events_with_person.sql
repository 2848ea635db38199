-- Purpose: a team's events, each with the current person of its distinct id; the zero UUID if there
--          is none.
-- Reads:   events; each shard joins its own rows with its own copy of person_distinct_id.
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM events_with_person(
--              team_id = 2, since = '2026-01-01', until = '2027-01-01')
CREATE VIEW {{ database }}.events_with_person
AS SELECT
{%- set own = events.all | selectattr('name', 'equalto', 'person_id') | list %}
{%- for column in events.all if column.name != 'person_id' %}
    {{ column.ident }},
{%- endfor %}
{#- A profile's own column is the person at the time of the message. #}
    {{ 'live.person_id AS person_id' if own else 'person_id' }}
FROM {{ database }}.events
LEFT JOIN
(
{% filter indent(4, true) %}{% include 'queries/live_distinct_ids.sql' %}{% endfilter %}
) AS live USING (distinct_id)
WHERE (team_id = {team_id:Int64}) AND (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
{%- if events.views_skip_unused_shards %}
SETTINGS optimize_skip_unused_shards = 1
{%- endif %}
