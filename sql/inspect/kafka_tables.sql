-- Purpose: the tables that read from Kafka, of every database, with the settings they were made
--          with and how many views read them.
-- Runs on: each node. Shape: database, name, engine_full, views.
SELECT
    database,
    name,
    engine_full,
    length(dependencies_table) AS views
FROM system.tables
WHERE engine = 'Kafka'
ORDER BY
    database,
    name
