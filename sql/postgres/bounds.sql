-- Purpose: the first and last primary key of a table.
-- Runs on: PostgreSQL.
SELECT min({{ id }}), max({{ id }}) FROM {{ table }}
