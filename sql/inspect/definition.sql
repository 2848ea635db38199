-- Purpose: the definition of a table, which the server also has of one that is detached.
-- Runs on: each node. Shape: statement.
SHOW CREATE TABLE {database:Identifier}.{table:Identifier}
