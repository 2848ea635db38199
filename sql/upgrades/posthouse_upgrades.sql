-- Purpose: remembers which upgrades this node has had, with the checksum of the file as it was then.
-- Reads:   nothing.
-- Writes:  nothing.
-- Runs on: every node; never replicated, since each node is upgraded for itself.
CREATE TABLE {{ database }}.posthouse_upgrades
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY name
SETTINGS index_granularity = 8192
