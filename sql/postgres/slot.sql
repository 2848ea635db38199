-- Purpose: the replication slot: whose it is, how far it has come, and how much WAL waits for it.
-- Runs on: PostgreSQL, the primary.
SELECT
    plugin,
    database,
    active,
    confirmed_flush_lsn,
    coalesce(wal_status, ''),
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
FROM pg_replication_slots
WHERE slot_name = {{ slot }}
