-- Purpose: the clusters in a node's remote_servers.
-- Runs on: any node. Shape: cluster.
SELECT DISTINCT cluster
FROM system.clusters
ORDER BY cluster
