-- Purpose: tells whoever finds the database what keeps it.
-- Runs on: every node, once.
ALTER DATABASE {{ database }} MODIFY COMMENT 'managed by posthouse: change posthouse.toml and run posthouse schema apply'
