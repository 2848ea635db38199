-- Purpose: the upgrades this node has had.
-- Runs on: every node that has the table. Shape: name, checksum.
SELECT name, checksum
FROM {{ database }}.posthouse_upgrades
ORDER BY name
