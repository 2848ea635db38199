-- Purpose: whether a table is there to be used.
-- Runs on: each node. Shape: result, 0 or 1.
EXISTS TABLE {database:Identifier}.{table:Identifier}
