-- Purpose: begins to keep WAL for posthouse. Waits until every transaction that runs now has ended.
-- Runs on: PostgreSQL, the primary.
SELECT lsn FROM pg_create_logical_replication_slot({{ slot }}, 'pgoutput')
