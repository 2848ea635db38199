-- Purpose: the number of rows that a table of the node holds.
-- Runs on: each node. Shape: rows, one line or none.
SELECT ifNull(total_rows, 0) AS rows
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
