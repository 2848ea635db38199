-- Purpose: PostgreSQL's position: the end of the written WAL, and the first transaction that has
--          not started.
-- Runs on: PostgreSQL, the primary.
SELECT pg_current_wal_lsn(), pg_snapshot_xmax(pg_current_snapshot())
