-- Purpose: pauses a Kafka table. Its definition stays on disk, and ATTACH TABLE resumes it.
-- Runs on: a node on which another table takes over. SYNC waits until its consumers have left their
--          group.
DETACH TABLE IF EXISTS {{ table }} PERMANENTLY SYNC
