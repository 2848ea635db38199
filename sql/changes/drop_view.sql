-- Purpose: drops our view of a table whose name changes to that of the view.
-- Runs on: a node with the view.
DROP VIEW IF EXISTS {{ database }}.{{ table }} SYNC
