-- Purpose: the time for which a node waits for more bytes of a request.
-- Runs on: every node with data. Shape: seconds.
SELECT toUInt64(value) AS seconds
FROM system.settings
WHERE name = 'http_receive_timeout'
