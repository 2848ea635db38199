-- Purpose: a statement as the server itself would write it, so that it compares letter by letter with what stands there.
-- Runs on: every node. Shape: definition, one row.
SELECT formatQuery({statement:String}) AS definition
