-- Purpose: whether this version knows settings that a loader must have its own way.
-- Runs on: any node. Shape: name.
SELECT name
FROM system.settings
WHERE name = 'deduplicate_insert'
