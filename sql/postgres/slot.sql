-- Purpose: the replication slot: plugin, database, position, and the WAL that it retains.
-- Runs on: PostgreSQL; a standby too, which is then refused by name.
SELECT
    plugin,
    database,
    active,
    confirmed_flush_lsn,
    coalesce(wal_status, ''),
    coalesce(pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn), 0)::bigint
FROM pg_replication_slots
WHERE slot_name = {{ slot }}
