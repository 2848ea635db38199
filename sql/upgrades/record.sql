-- Purpose: records one upgrade as done.
-- Runs on: the node that has just run it.
INSERT INTO {{ database }}.posthouse_upgrades (name, checksum, applied_at)
SELECT {name:String}, {checksum:String}, now64(3)
