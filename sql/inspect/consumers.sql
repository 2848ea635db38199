-- Purpose: consumers of Kafka tables, with the missing views and tables that each waits for. Ages
--          are by the server's clock.
-- Runs on: each node. Shape: database, name, topics, partitions, committed_s, missing, exception,
--          exception_s.
SELECT
    database,
    table AS name,
    `assignments.topic` AS topics,
    `assignments.partition_id` AS partitions,
    if(toUInt32(last_commit_time) = 0, NULL, dateDiff('second', last_commit_time, now())) AS committed_s,
    arrayDistinct(arrayMap(path -> path[-1], missing_dependencies)) AS missing,
    toValidUTF8(substring(arrayReduce('argMax', `exceptions.text`, `exceptions.time`), 1, 2000)) AS exception,
    if(empty(`exceptions.time`), NULL, dateDiff('second', arrayMax(`exceptions.time`), now())) AS exception_s
FROM system.kafka_consumers
ORDER BY
    database,
    name
