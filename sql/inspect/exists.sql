-- Purpose: whether a table exists and is attached.
-- Runs on: each node. Shape: result, 0 or 1.
EXISTS TABLE {database:Identifier}.{table:Identifier}
