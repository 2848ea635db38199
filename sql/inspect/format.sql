-- Purpose: a statement in the server's own format, to be compared letter by letter with the
--          observed definition.
-- Runs on: every node. Shape: definition, one row.
SELECT formatQuery({statement:String}) AS definition
