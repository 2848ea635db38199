-- Purpose: removes the overrides that all events have now. Newer versions stay, and so does another
--          person of the same version.
-- Runs on: every node, the first one last; once, where tables are replicated.
{%- macro looked_up(column) -%}
joinGet('{{ database }}.person_squash_lookup', '{{ column }}', team_id, distinct_id)
{%- endmacro %}
ALTER TABLE {{ database }}.person_distinct_id_overrides
    DELETE WHERE ((version < {{ looked_up('version') }}) OR ((version = {{ looked_up('version') }}) AND (person_id = {{ looked_up('person_id') }}) AND (is_deleted = 0)))
        AND ({{ looked_up('person_id') }} != toUUID('00000000-0000-0000-0000-000000000000'))
