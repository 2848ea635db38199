-- Purpose: creates the database of all objects.
-- Runs on: a node that has no such database.
CREATE DATABASE {{ database }}
