-- Purpose: pauses a foreign Kafka table: its definition stays on disk, and ATTACH TABLE brings it back.
-- Runs on: a node whose table is taken over; SYNC, so that its consumers have left their group when it returns.
DETACH TABLE IF EXISTS {{ table }} PERMANENTLY SYNC
