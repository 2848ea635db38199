-- Purpose: gives a table with data its new name, at once. Its rows and its path in Keeper stay.
-- Runs on: the node with the table, while the consumer that fills it is paused.
RENAME TABLE {{ database }}.{{ item }} TO {{ database }}.{{ table }}
