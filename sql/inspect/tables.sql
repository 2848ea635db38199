-- Purpose: every table of the database, with its definition in the server's own format.
-- Runs on: every node. Shape: name, definition.
SELECT name, formatQuery(create_table_query) AS definition
FROM system.tables
WHERE database = {database:String}
ORDER BY name
