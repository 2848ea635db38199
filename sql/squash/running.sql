-- Purpose: mutations of a squash that are not done.
-- Runs on: every node. Shape: mutations, parts, reason.
SELECT
    count() AS mutations,
    sum(parts_to_do) AS parts,
    anyIf(latest_fail_reason, latest_fail_reason != '') AS reason
FROM system.mutations
WHERE (database = '{{ database }}') AND (NOT is_done) AND (position(command, 'person_squash_lookup') > 0)
