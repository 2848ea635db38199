-- Purpose: whether every transaction before this one has ended, so that queries see its changes.
-- Runs on: PostgreSQL, the primary.
SELECT pg_snapshot_xmin(pg_current_snapshot()) >= '{{ transaction }}'::xid8
