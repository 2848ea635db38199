-- Purpose: removes a foreign view or Kafka table after a takeover; neither holds data.
-- Runs on: a node on which somebody has confirmed it by name.
DROP TABLE IF EXISTS {{ table }} SYNC
