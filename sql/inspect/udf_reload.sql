-- Purpose: reloads the node's function files. Running queries keep their processes.
-- Runs on: a node whose function file was just replaced.
SYSTEM RELOAD FUNCTIONS
