-- Purpose: adds a column or an index that the config names and the table lacks. Old parts are not
--          rewritten.
-- Runs on: a node whose table lacks it. IF NOT EXISTS, because replicas share one list of columns,
--          and another replica may have added it.
ALTER TABLE {{ database }}.{{ table }} ADD {{ "COLUMN IF NOT EXISTS " ~ item if item is startingwith "`" else item | replace("INDEX ", "INDEX IF NOT EXISTS ") }}
