-- Purpose: whether the server takes text without hex digits for a UUID.
-- Runs on: each node. Shape: parsed, one line.
SELECT isNotNull(toUUIDOrNull(materialize('zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz'))) AS parsed
