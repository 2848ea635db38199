-- Purpose: the ports of every node of a cluster, as each node itself knows them.
-- Runs on: any node; asks all others. Shape: shard, tcp_port, http_port.
SELECT
    _shard_num AS shard,
    tcpPort() AS tcp_port,
    getServerPort('http_port') AS http_port
FROM clusterAllReplicas({{ cluster }}, system.one)
ORDER BY shard, tcp_port
