-- Purpose: whether a Kafka table of ours has reached the brokers: it has partitions, or has read.
-- Runs on: each node with Kafka tables. Shape: reading, one line.
SELECT count() AS reading
FROM system.kafka_consumers
WHERE
    database = {database:String}
    AND (notEmpty(`assignments.topic`) OR num_messages_read > 0)
