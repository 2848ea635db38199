-- Purpose: whether this user may make changes on the node.
-- Runs on: each node, before the first change. Shape: readonly, one line.
SELECT toUInt64(getSetting('readonly')) AS readonly
