-- Purpose: rows by their keys in ClickHouse. An index on both columns finds them, for example that
--          of the replica identity.
-- Runs on: PostgreSQL.
SELECT {{ columns }} FROM {{ table }} AS source
JOIN unnest(ARRAY[{{ team_ids }}]::bigint[], ARRAY[{{ keys }}]::{{ type }}[]) AS wanted (team_id, key)
    ON source.{{ team_id }} = wanted.team_id AND source.{{ key }} = wanted.key
