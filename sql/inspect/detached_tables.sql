-- Purpose: detached tables of the database. They are unused, and their replicas stay in Keeper.
-- Runs on: each node. Shape: name.
SELECT DISTINCT table AS name
FROM system.detached_tables
WHERE database = {database:String}
ORDER BY name
