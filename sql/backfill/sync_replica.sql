-- Purpose: makes a replica fetch parts that others have acknowledged, before its rows are counted.
-- Runs on: every node, where tables are replicated.
SYSTEM SYNC REPLICA {{ database }}.{{ table }} LIGHTWEIGHT
