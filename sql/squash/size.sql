-- Purpose: an upper bound of the distinct ids that a squash reads.
-- Runs on: a node. Shape: rows.
SELECT count() AS rows FROM {{ database }}.{{ source }}
