{#- Whether a message is a person; multiplied, not AND, as in events/sound.sql. A deletion is clear without the rest: what is
    missing or wrong there must not keep a deleted person visible. A live one must be whole, or it would replace what is known. -#}
is_object * isNotNull(message_id) * isNotNull(message_team_id) * (message_version >= 0) * (message_is_deleted IN ('0', '1'))
    * greatest(message_is_deleted = '1', isNotNull(message_created_at) * isNotNull(field.properties) * (message_is_identified IN ('0', '1')))
