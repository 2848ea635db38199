-- Purpose: rows by what ClickHouse knows them by.
-- Runs on: PostgreSQL.
SELECT {{ columns }} FROM {{ table }}
WHERE ({{ team_id }}::text || ':' || {{ key }}::text) = ANY (ARRAY[{{ keys }}]::text[])
