-- Purpose: the definition of a table, attached or detached.
-- Runs on: each node. Shape: statement.
SHOW CREATE TABLE {database:Identifier}.{table:Identifier}
