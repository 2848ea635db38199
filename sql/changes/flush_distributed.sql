-- Purpose: sends rows that wait on this node's disk to their shards, before the Distributed table
--          is dropped.
-- Runs on: a node whose Distributed table is about to be created again.
SYSTEM FLUSH DISTRIBUTED {{ database }}.{{ table }}
