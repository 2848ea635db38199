-- Purpose: the functions that the node runs as programs of their own.
-- Runs on: every node. Shape: name.
SELECT name
FROM system.functions
WHERE origin = 'ExecutableUserDefined'
ORDER BY name
