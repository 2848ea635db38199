-- Purpose: pauses a Kafka table: its definition stays on disk, and ATTACH TABLE brings it back.
-- Runs on: a node that another table takes over from; SYNC, so that its consumers have left their group when it returns.
DETACH TABLE IF EXISTS {{ table }} PERMANENTLY SYNC
