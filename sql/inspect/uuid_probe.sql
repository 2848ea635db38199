-- Purpose: whether the server parses text without hex digits as a UUID.
-- Runs on: each node. Shape: parsed, one line.
SELECT isNotNull(toUUIDOrNull(materialize('zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz'))) AS parsed
