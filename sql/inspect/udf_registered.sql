-- Purpose: the executable functions of the node.
-- Runs on: every node. Shape: name.
SELECT name
FROM system.functions
WHERE origin = 'ExecutableUserDefined'
ORDER BY name
