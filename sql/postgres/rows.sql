-- Purpose: rows by one of their columns: for each value that is asked for, its rows, or one row of
--          NULLs. The value is the last column, so that a value without an answer is noticed.
-- Runs on: PostgreSQL.
SELECT {{ columns }}, wanted.value
FROM unnest('{{ '{' }}{{ ids }}{{ '}' }}'::bigint[]) AS wanted (value)
LEFT JOIN {{ table }} AS source ON source.{{ column }} = wanted.value
