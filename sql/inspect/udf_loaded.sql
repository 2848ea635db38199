-- Purpose: the command behind each function, or why the node did not take it.
-- Runs on: every node. Shape: name, command, problem (empty if there is none).
SELECT
    name,
    command,
    loading_error_message AS problem
FROM system.user_defined_functions
ORDER BY name
