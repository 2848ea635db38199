-- Purpose: the upgrades that this node has run.
-- Runs on: every node that has the table. Shape: name, checksum.
SELECT name, checksum
FROM {{ database }}.posthouse_upgrades
ORDER BY name
