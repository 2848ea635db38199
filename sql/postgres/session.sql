-- Purpose: has the server end a statement whose client is gone, and tells the session's process.
-- Runs on: PostgreSQL 14 and later, on systems that can tell (Linux, macOS, BSD).
SELECT pg_backend_pid(), set_config('client_connection_check_interval', '1s', false)
