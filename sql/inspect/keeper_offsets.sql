-- Purpose: the offsets that Kafka tables keep in Keeper, below the paths of their partitions.
-- Runs on: a node with a Keeper. Shape: path, value.
SELECT
    path,
    value
FROM system.zookeeper
WHERE path IN {paths:Array(String)} AND name = 'committed'
