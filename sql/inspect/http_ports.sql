-- Purpose: the ports of every node of a cluster, as each node reports them.
-- Runs on: any node; queries all others. Shape: shard, tcp_port, http_port.
SELECT
    _shard_num AS shard,
    tcpPort() AS tcp_port,
    getServerPort('{{ port }}') AS http_port
FROM clusterAllReplicas({{ cluster }}, system.one)
ORDER BY shard, tcp_port
