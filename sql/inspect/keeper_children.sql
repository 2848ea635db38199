-- Purpose: what Keeper holds directly below a path.
-- Runs on: a node with a Keeper. Shape: name.
SELECT name
FROM system.zookeeper
WHERE path = {path:String}
ORDER BY name
