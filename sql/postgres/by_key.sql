-- Purpose: rows by what ClickHouse knows them by; an index on both columns finds them, as that of the replica identity does.
-- Runs on: PostgreSQL.
SELECT {{ columns }} FROM {{ table }} AS source
JOIN unnest(ARRAY[{{ team_ids }}]::bigint[], ARRAY[{{ keys }}]::{{ type }}[]) AS wanted (team_id, key)
    ON source.{{ team_id }} = wanted.team_id AND source.{{ key }} = wanted.key
