-- Purpose: brings a foreign Kafka table back that a takeover had paused.
-- Runs on: a node on which it is detached.
ATTACH TABLE IF NOT EXISTS {{ table }}
