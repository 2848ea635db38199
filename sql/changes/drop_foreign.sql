-- Purpose: removes a view or Kafka table after a takeover or a return; neither holds data.
-- Runs on: a node whose foreign table was confirmed by name, or whose own table the config leaves
--          to others.
DROP TABLE IF EXISTS {{ table }} SYNC
