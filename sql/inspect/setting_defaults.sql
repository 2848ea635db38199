-- Purpose: the default values of settings, with their aliases, and the server's version.
-- Runs on: every node. Shape: name, initial, alias_for; the version under the name version().
SELECT
    name,
    default AS initial,
    alias_for
FROM system.settings
WHERE (name IN {names:Array(String)}) OR (alias_for IN {names:Array(String)})
UNION ALL
SELECT
    'version()' AS name,
    version() AS initial,
    '' AS alias_for
