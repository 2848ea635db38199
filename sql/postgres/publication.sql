-- Purpose: whether a publication has all kinds of changes, and which tables are in it.
-- Runs on: PostgreSQL.
SELECT
    publication.pubinsert AND publication.pubupdate AND publication.pubdelete AND publication.pubtruncate,
    published.schemaname,
    published.tablename
FROM pg_publication AS publication
LEFT JOIN pg_publication_tables AS published ON published.pubname = publication.pubname
WHERE publication.pubname = {{ publication }}
