-- Purpose: the tables that read from Kafka, of every database, with the settings they were made with.
-- Runs on: each node. Shape: database, name, engine_full.
SELECT
    database,
    name,
    engine_full
FROM system.tables
WHERE engine = 'Kafka'
ORDER BY
    database,
    name
