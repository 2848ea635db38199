-- Purpose: the columns that an insert of events can have.
-- Reads:   system.columns.
-- Runs on: any node. Shape: name.
SELECT name
FROM system.columns
WHERE (database = {database:String}) AND (table = 'writable_events')
