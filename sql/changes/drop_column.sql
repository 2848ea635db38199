-- Purpose: takes a column out of a Distributed table's list, which holds no data.
-- Runs on: a node whose table lists a column that the config does not name.
ALTER TABLE {{ database }}.{{ table }} DROP COLUMN IF EXISTS {{ item }}
