-- Purpose: the macros in replicated paths.
-- Runs on: every node of a replicated cluster. Shape: macro, substitution.
SELECT macro, substitution
FROM system.macros
WHERE macro IN ('shard', 'replica')
