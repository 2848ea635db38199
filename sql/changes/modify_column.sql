-- Purpose: sets a column's type, default or codec to the desired one.
-- Runs on: a node whose table has another.
ALTER TABLE {{ database }}.{{ table }} MODIFY COLUMN {{ item }}
