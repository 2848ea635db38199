-- Purpose: the cluster in this node's remote_servers.
-- Runs on: every node. Shape: shard, weight, replica, host, address, port, is_local.
SELECT
    shard_num AS shard,
    shard_weight AS weight,
    replica_num AS replica,
    host_name AS host,
    host_address AS address,
    port,
    is_local
FROM system.clusters
WHERE cluster = {cluster:String}
ORDER BY shard, replica
