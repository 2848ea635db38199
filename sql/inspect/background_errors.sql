-- Purpose: the latest errors outside queries: of the pool that streams from Kafka, and of the
--          inserts that it sends to other shards. A lock of a partition that another node holds is
--          no error. Ages are by the server's clock.
-- Runs on: each node. Shape: name, text, streaming, age_s.
SELECT
    name,
    toValidUTF8(substring(last_error_message, 1, 2000)) AS text,
    startsWith(query_id, 'BgMBSchPool') AS streaming,
    dateDiff('second', last_error_time, now()) AS age_s
FROM system.errors
WHERE (startsWith(query_id, 'BgMBSchPool') OR query_id = '')
    AND last_error_time > now() - toIntervalMinute(5)
    AND NOT (last_error_message LIKE '%topic_partition_locks%')
ORDER BY
    age_s,
    name
