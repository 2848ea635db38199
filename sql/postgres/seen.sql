-- Purpose: whether queries see the changes of some transactions. A commit can be in the WAL, and be
--          sent, before they do, while it waits for a synchronous standby. The stream has only the
--          lower half of a transaction's number.
-- Runs on: PostgreSQL, the primary.
SELECT coalesce(bool_and(pg_visible_in_snapshot(transaction::text::xid8, snapshot)), true)
FROM
(
    SELECT
        snapshot,
        newest + ((number - newest + 2147483648) & 4294967295) - 2147483648 AS transaction
    FROM
    (
        SELECT pg_current_snapshot() AS snapshot, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest
    ) AS now
    CROSS JOIN unnest(ARRAY[{{ transactions }}]::bigint[]) AS number
) AS counted
