-- Purpose: where PostgreSQL is: the WAL as far as it is written, and the first transaction that has not begun.
-- Runs on: PostgreSQL, the primary.
SELECT pg_current_wal_lsn(), pg_snapshot_xmax(pg_current_snapshot())
