-- Purpose: empties a table of a squash, which has copies of other rows only.
-- Runs on: every node; once, where the table is replicated.
TRUNCATE TABLE {{ database }}.{{ table }} SYNC
