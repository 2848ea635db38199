-- Purpose: rows by their keys in ClickHouse: for each key that is asked for, its rows, or one row
--          of NULLs. The key's number is the last column, so that a key without an answer is
--          noticed. An index on both columns finds them, for example that of the replica identity.
-- Runs on: PostgreSQL.
SELECT {{ columns }}, wanted.number
FROM unnest(ARRAY[{{ team_ids }}]::bigint[], ARRAY[{{ keys }}]::{{ type }}[]) WITH ORDINALITY AS wanted (team_id, key, number)
LEFT JOIN {{ table }} AS source
    ON source.{{ team_id }} = wanted.team_id AND source.{{ key }} = wanted.key
