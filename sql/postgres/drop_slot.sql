-- Purpose: drops a slot that can't be resumed.
-- Runs on: PostgreSQL, the primary.
SELECT pg_drop_replication_slot({{ slot }})
