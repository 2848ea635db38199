-- Purpose: rows by one of their columns.
-- Runs on: PostgreSQL.
SELECT {{ columns }} FROM {{ table }} WHERE {{ column }} = ANY ('{{ '{' }}{{ ids }}{{ '}' }}'::bigint[])
