-- Purpose: makes the last merges of a node visible in its part_log.
-- Runs on: every node with data and a part_log.
SYSTEM FLUSH LOGS part_log
