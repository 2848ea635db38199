-- Purpose: creates the slot, which retains WAL. Waits until every running transaction has ended.
-- Runs on: PostgreSQL, the primary.
SELECT lsn FROM pg_create_logical_replication_slot({{ slot }}, 'pgoutput')
