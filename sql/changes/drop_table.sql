-- Purpose: drops a table without data (Kafka table, view, Distributed table), before it is created
--          again.
-- Runs on: a node whose table differs. SYNC waits until its consumers have left their group.
DROP TABLE IF EXISTS {{ database }}.{{ table }} SYNC
