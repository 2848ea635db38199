-- Purpose: gives a column the type, default or codec that the config wants.
-- Runs on: a node whose table has it otherwise.
ALTER TABLE {{ database }}.{{ table }} MODIFY COLUMN {{ item }}
