-- Purpose: settings that statements and values rely on. The startup message asks for them, and a
--          pooler may ignore that.
-- Runs on: PostgreSQL.
SELECT
    current_setting('standard_conforming_strings'),
    current_setting('row_security'),
    current_setting('timezone'),
    split_part(current_setting('datestyle'), ',', 1)
