-- Purpose: the names of a path's children in Keeper.
-- Runs on: a node with a Keeper. Shape: name.
SELECT name
FROM system.zookeeper
WHERE path = {path:String}
ORDER BY name
