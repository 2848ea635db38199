-- Purpose: the events of a person: those of the distinct ids that belong to it now.
{%- if persons.lookup %}
-- Reads:   events, and person_distinct_id and the person index of each shard: first the distinct
--          ids that the person ever had, then those of them that the index gives to it.
{%- else %}
-- Reads:   events, and person_distinct_id of each shard, twice: first the distinct ids that the
--          person ever had, then all versions of these.
{%- endif %}
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM person_events(
--              team_id = 2, person_id = '018f5a7e-0000-4000-8000-000000000001',
--              since = '2026-01-01', until = '2027-01-01')
--
-- Only distinct ids are looked up, and not each event. The key of events skips granules by them.
{%- set nobody = "toUUID('00000000-0000-0000-0000-000000000000')" %}
CREATE VIEW {{ database }}.person_events
AS SELECT
{%- for column in events.all if column.name != 'person_id' %}
    {{ column.ident }},
{%- endfor %}
    {person_id:UUID} AS person_id
FROM {{ database }}.events
WHERE {% include 'queries/team_events.sql' %}
    AND (distinct_id IN
    (
{%- if persons.lookup %}
        SELECT ids.distinct_id
        FROM {{ database }}.{{ persons.distinct_id_table }} AS ids
        WHERE (ids.team_id = {team_id:Int64}) AND (ids.person_id = {person_id:UUID}) AND (ids.person_id != {{ nobody }})
        GROUP BY ids.distinct_id
        {#- An aggregate keeps the server from looking up all distinct ids of the team first. #}
        HAVING personOf(max(ids.team_id), ids.distinct_id) = {person_id:UUID}
{%- else %}
        SELECT ids.distinct_id
        FROM {{ database }}.{{ persons.distinct_id_table }} AS ids
        WHERE (ids.team_id = {team_id:Int64}) AND ({person_id:UUID} != {{ nobody }}) AND (ids.distinct_id IN
        (
            SELECT candidates.distinct_id
            FROM {{ database }}.{{ persons.distinct_id_table }} AS candidates
            WHERE (candidates.team_id = {team_id:Int64}) AND (candidates.person_id = {person_id:UUID})
        ))
        GROUP BY ids.distinct_id
        HAVING (argMax(ids.is_deleted, (ids.version, ids.is_deleted)) = 0)
            AND (argMax(ids.person_id, (ids.version, ids.is_deleted, ids.person_id)) = {person_id:UUID})
{%- endif %}
    ))
{%- if events.views_skip_unused_shards %}
SETTINGS optimize_skip_unused_shards = 1
{%- endif %}
