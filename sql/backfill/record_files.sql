-- Purpose: remembers files whose load begins.
-- Runs on: any node.
INSERT INTO {{ database }}.backfill_files FORMAT JSONEachRow
