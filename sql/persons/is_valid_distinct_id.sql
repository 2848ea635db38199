{#- Whether a message is a valid distinct id. Multiplied instead of AND, as in events/is_valid_event.sql. -#}
is_object * isNotNull(message_team_id) * isNotNull(field.distinct_id) * isNotNull(message_person_id) * (message_version >= 0)
    * (message_is_deleted IN ('0', '1')) * (JSONType(bracketed, 'distinct_id') NOT IN ('Array', 'Object'))
