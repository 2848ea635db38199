-- Purpose: makes the database that everything stands in.
-- Runs on: a node that has no such database.
CREATE DATABASE {{ database }}
