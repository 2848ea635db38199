-- Purpose: removes an index of a column that is about to be dropped.
-- Runs on: a node whose table has it. IF EXISTS, because replicas share one list of indexes.
ALTER TABLE {{ database }}.{{ table }} DROP INDEX IF EXISTS {{ item }}
