-- Purpose: the Kafka tables of every database, with their settings and the number of views that
--          read them.
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
