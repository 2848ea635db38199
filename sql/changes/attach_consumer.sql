-- Purpose: resumes a Kafka table that a takeover or a return has paused.
-- Runs on: a node on which it is detached.
ATTACH TABLE IF NOT EXISTS {{ table }}
