-- Purpose: the default values of settings, with their aliases.
-- Runs on: every node. Shape: name, initial, alias_for.
SELECT
    name,
    default AS initial,
    alias_for
FROM system.settings
WHERE (name IN {names:Array(String)}) OR (alias_for IN {names:Array(String)})
