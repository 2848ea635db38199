{#- Whether a message is a valid event. All others are dead letters, so that each message is stored
    in exactly one table. Multiplied instead of AND, because the engine evaluates AND lazily and
    would parse the message once for every argument (measured: 4.1 s instead of 0.6 s for 500,000
    messages). -#}
is_object * isNotNull(event_uuid) * isNotNull(field.event) * isNotNull(field.distinct_id) * isNotNull(event_team_id)
    * isNotNull(event_timestamp) * (isNull(field.created_at) = isNull(event_created_at))
    * (JSONType(bracketed, 'event') NOT IN ('Array', 'Object')) * (JSONType(bracketed, 'distinct_id') NOT IN ('Array', 'Object'))
    * (JSONType(bracketed, 'elements_hash') NOT IN ('Array', 'Object')) * (JSONType(bracketed, 'elements_chain') NOT IN ('Array', 'Object'))
