-- Purpose: adds a column or an index that the config names and the table lacks. Old parts are not rewritten.
-- Runs on: a node whose table lacks it, or another replica's since: replicas share one list of columns.
ALTER TABLE {{ database }}.{{ table }} ADD {{ "COLUMN IF NOT EXISTS " ~ item if item is startingwith "`" else item | replace("INDEX ", "INDEX IF NOT EXISTS ") }}
