-- Purpose: whether the node has the database.
-- Runs on: every node. Shape: name, one row or none.
SELECT name
FROM system.databases
WHERE name = {database:String}
