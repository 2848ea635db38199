-- Purpose: records the upgrades that this node has run, each with the checksum of its file.
-- Reads:   none.
-- Writes:  none.
-- Runs on: every node; never replicated, because each node is upgraded by itself.
CREATE TABLE {{ database }}.posthouse_upgrades
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY name
SETTINGS index_granularity = 8192
