-- Purpose: publishes every change of both tables.
-- Runs on: PostgreSQL.
CREATE PUBLICATION {{ publication }} FOR TABLE {{ person }}, {{ distinct_id }}
    WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)
