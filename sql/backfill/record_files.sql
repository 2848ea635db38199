-- Purpose: records files whose load starts.
-- Runs on: any node.
INSERT INTO {{ database }}.backfill_files FORMAT JSONEachRow
