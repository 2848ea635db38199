-- Purpose: makes the server end the statement of a client that is gone, keeps it from ending an
--          idle session (PostgreSQL 14 and later), and returns the session's process.
-- Runs on: PostgreSQL, on systems that detect a client that is gone (Linux, macOS, BSD).
SELECT
    pg_backend_pid(),
    set_config('client_connection_check_interval', '1s', false),
    (SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout')
