-- Purpose: the command of each function, or the reason why the node did not load it.
-- Runs on: every node. Shape: name, command, problem (empty if there is none).
SELECT
    name,
    command,
    loading_error_message AS problem
FROM system.user_defined_functions
ORDER BY name
