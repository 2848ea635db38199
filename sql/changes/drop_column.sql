-- Purpose: removes a column from a Distributed table, which holds no data.
-- Runs on: a node whose table lists a column that the config does not name.
ALTER TABLE {{ database }}.{{ table }} DROP COLUMN IF EXISTS {{ item }}
