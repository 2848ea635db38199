-- Purpose: a team's events and distinct persons, by day and name of the event.
{%- if persons.lookup %}
-- Reads:   events; each shard looks up its own rows in its own person index, and aggregates them.
{%- else %}
-- Reads:   events; each shard joins its own rows with its own copy of person_distinct_id, and
--          aggregates them.
{%- endif %}
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM unique_persons(team_id = 2, since = '2026-01-01', until = '2027-01-01')
--
-- One person has events of several days and names, so the persons of rows have no sum.
{%- set nobody = "toUUID('00000000-0000-0000-0000-000000000000')" %}
{%- set person = persons.lookup or 'live.person_id' %}
CREATE VIEW {{ database }}.unique_persons
AS SELECT
    toDate(timestamp) AS day,
    event,
    count() AS events,
    events - countIf({{ person }} != {{ nobody }}) AS events_without_person,
    uniqExactIf({{ person }}, {{ person }} != {{ nobody }}) AS persons
FROM {{ database }}.events
{%- if not persons.lookup %}
LEFT JOIN
(
{% filter indent(4, true) %}{% include 'queries/live_distinct_ids.sql' %}{% endfilter %}
) AS live USING (distinct_id)
{%- endif %}
WHERE {% include 'queries/team_events.sql' %}
GROUP BY
    day,
    event
ORDER BY
    day,
    event
{%- include 'queries/lookup_settings.sql' %}
