-- Purpose: every setting of every settings profile, and the profiles that each inherits from.
-- Runs on: every node; needs the right SHOW SETTINGS PROFILES. Shape: profile, setting, value,
--          parent.
SELECT
    assumeNotNull(profile_name) AS profile,
    setting_name AS setting,
    value,
    inherit_profile AS parent
FROM system.settings_profile_elements
WHERE profile_name IS NOT NULL
ORDER BY profile_name, index
