{#- Which of the fields that count a message has more than once, as further reasons. -#}
arrayMap(name -> concat(name, ': there more than once, the first counts'), arrayFilter(name -> (countEqual(JSONExtractKeys(message), name) > 1), [{{ names }}]))
