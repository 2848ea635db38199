-- Purpose: whether this user has a right on the node.
-- Runs on: each node, before the first change. Shape: result, one line.
CHECK GRANT {{ grant }}
