-- Purpose: tables of the database that were detached: they are not used, and their replicas stay in Keeper.
-- Runs on: each node. Shape: name.
SELECT DISTINCT table AS name
FROM system.detached_tables
WHERE database = {database:String}
ORDER BY name
