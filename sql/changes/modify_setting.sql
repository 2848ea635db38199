-- Purpose: sets a MergeTree setting to the desired value.
-- Runs on: a node whose table has another.
ALTER TABLE {{ database }}.{{ table }} MODIFY SETTING {{ item }}
