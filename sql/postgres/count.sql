-- Purpose: the rows of a table.
-- Runs on: PostgreSQL.
SELECT count(*) FROM {{ table }}
