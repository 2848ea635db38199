-- Purpose: the keys of a named collection. Values may be passwords and are not read.
-- Runs on: each node with Kafka tables. Shape: keys, one line; none if it is missing or hidden.
SELECT mapKeys(collection) AS keys
FROM system.named_collections
WHERE name = {name:String}
