-- Purpose: sends what still waits on this node's disk to its shards, before the Distributed table is dropped.
-- Runs on: a node whose Distributed table is about to be created again.
SYSTEM FLUSH DISTRIBUTED {{ database }}.{{ table }}
