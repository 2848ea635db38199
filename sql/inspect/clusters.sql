-- Purpose: the clusters that a node's remote_servers has.
-- Runs on: any node. Shape: cluster.
SELECT DISTINCT cluster
FROM system.clusters
ORDER BY cluster
