-- Purpose: gives up a slot whose WAL is gone.
-- Runs on: PostgreSQL, the primary.
SELECT pg_drop_replication_slot({{ slot }})
