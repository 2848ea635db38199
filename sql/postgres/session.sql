-- Purpose: has the server end a statement whose client is gone, keeps it from ending a session that waits (PostgreSQL 14 and later), and
--          returns the session's process.
-- Runs on: PostgreSQL, on systems that can tell whether a client is gone (Linux, macOS, BSD).
SELECT
    pg_backend_pid(),
    set_config('client_connection_check_interval', '1s', false),
    (SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout')
