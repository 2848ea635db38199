-- Purpose: the transactions that block a session. Process 0 is a prepared transaction.
-- Runs on: PostgreSQL, the primary.
SELECT
    blocker,
    coalesce(activity.usename, ''),
    coalesce(activity.application_name, ''),
    coalesce(extract(epoch FROM now() - activity.xact_start)::bigint::text, '')
FROM unnest(pg_blocking_pids({{ process }})) AS blocker
LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker
