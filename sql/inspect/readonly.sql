-- Purpose: whether this user may change anything on the node.
-- Runs on: each node, before anything is changed. Shape: readonly, one line.
SELECT toUInt64(getSetting('readonly')) AS readonly
