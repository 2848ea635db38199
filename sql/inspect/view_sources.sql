-- Purpose: source tables, each with its materialized views.
-- Runs on: each node. Shape: database, name, engine, view_databases, view_names.
SELECT
    database,
    name,
    engine,
    dependencies_database AS view_databases,
    dependencies_table AS view_names
FROM system.tables
WHERE notEmpty(dependencies_table)
ORDER BY
    database,
    name
