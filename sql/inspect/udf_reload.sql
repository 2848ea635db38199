-- Purpose: has the node read its function files again; running queries go on with the programs they have.
-- Runs on: a node whose function file was just replaced.
SYSTEM RELOAD FUNCTIONS
