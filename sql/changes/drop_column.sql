-- Purpose: removes a column from a Distributed table, which holds no data, or a materialized one
--          that was named to be dropped.
-- Runs on: a node whose table has a column that the config does not name. IF EXISTS, because
--          replicas share one list of columns.
ALTER TABLE {{ database }}.{{ table }} DROP COLUMN IF EXISTS {{ item }}
