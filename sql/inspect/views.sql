-- Purpose: materialized views of any database that may write into one database, with their
--          definitions in the server's own format.
-- Runs on: each node. Shape: database, name, definition.
SELECT
    database,
    name,
    formatQuery(create_table_query) AS definition
FROM system.tables
WHERE engine = 'MaterializedView' AND position(create_table_query, {database:String}) > 0
ORDER BY
    database,
    name
