-- Purpose: removes a table that holds no data of its own (a consumer, a view, a Distributed table), to be created again.
-- Runs on: a node whose table differs; SYNC, so that the consumers have left their group when it returns.
DROP TABLE IF EXISTS {{ database }}.{{ table }} SYNC
