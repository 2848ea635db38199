-- Purpose: whether the node answers queries of this user.
-- Runs on: every node. Shape: no rows.
SELECT 1 FORMAT Null
