{#- The key of an event's distinct id in the person index, which udf/src/snapshot/entry.rs computes
    too. The hash of team_id depends on its type. -#}
bitXor(sipHash64(distinct_id), sipHash64(team_id))
