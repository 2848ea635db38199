-- Purpose: a team's events, each with the current person of its distinct id; the zero UUID if there
--          is none.
{%- if persons.lookup %}
-- Reads:   events; each shard looks up its own rows in its own person index.
{%- else %}
-- Reads:   events; each shard joins its own rows with its own copy of person_distinct_id.
{%- endif %}
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
{%- if persons.lookup %}
    {{ persons.lookup }} AS person_id
{%- else %}
    {{ 'live.person_id AS person_id' if own else 'person_id' }}
{%- endif %}
FROM {{ database }}.events
{%- if not persons.lookup %}
LEFT JOIN
(
{% filter indent(4, true) %}{% include 'queries/live_distinct_ids.sql' %}{% endfilter %}
) AS live USING (distinct_id)
{%- endif %}
WHERE {% include 'queries/team_events.sql' %}
{%- include 'queries/lookup_settings.sql' %}
