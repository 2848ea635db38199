-- Purpose: has a replica catch up with what others have acknowledged, before it is asked what there is.
-- Runs on: every node, where tables are replicated.
SYSTEM SYNC REPLICA {{ database }}.{{ table }} LIGHTWEIGHT
