{#- Further reasons: the given fields that a message has more than once. -#}
arrayMap(name -> concat(name, ': there more than once, the first counts'), arrayFilter(name -> (countEqual(JSONExtractKeys(message), name) > 1), [{{ names }}]))
