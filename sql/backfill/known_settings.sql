-- Purpose: the settings that a load must set, if this version of the server has them.
-- Runs on: any node. Shape: name.
SELECT name
FROM system.settings
WHERE name = 'deduplicate_insert'
