-- Purpose: gives a MergeTree setting the wanted value.
-- Runs on: a node whose table has another.
ALTER TABLE {{ database }}.{{ table }} MODIFY SETTING {{ item }}
