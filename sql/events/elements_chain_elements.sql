{#- The tags of clickable elements, each once. A chain is `tag.class:key="value"…;tag…`; values are
    removed first, because they may hold semicolons. -#}
arrayDistinct(extractAll(replaceRegexpAll(elements_chain, '"(?:[^"\\\\]|\\\\.)*"', ''), '(?:^|;)(a|button|form|input|select|textarea|label)(?:[.:;]|$)'))
