{#- Whether a message is a valid person. Multiplied instead of AND, as in events/is_valid_event.sql. A
    deletion is valid without the other fields, because a missing or invalid one must not keep a
    deleted person visible. A live person needs all fields, because it replaces the stored one. -#}
is_object * isNotNull(message_id) * isNotNull(message_team_id) * (message_version >= 0) * (message_is_deleted IN ('0', '1'))
    * greatest(message_is_deleted = '1', isNotNull(message_created_at) * isNotNull(field.properties) * (message_is_identified IN ('0', '1')))
