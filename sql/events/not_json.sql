{#- The reason why a message is not valid JSON to the parser. A cause is named if the message is
    valid without it. -#}
multiIf(
    NOT isValidUTF8(message), 'not valid JSON: not UTF-8',
    isValidJSON(replaceRegexpAll(replaceRegexpAll(message, '\\\\\\\\|\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}', ''), '\\\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '')), 'not valid JSON: half of a surrogate pair (\\ud800 to \\udfff)',
    isValidJSON(replaceRegexpAll(message, '\\d{19,}(\\.\\d+)?([eE][+-]?\\d+)?|\\d(\\.\\d+)?[eE][+-]?\\d{3,}', '0')), 'not valid JSON: a number that no 64-bit type holds',
    countSubstrings(message, '[') + countSubstrings(message, '{') >= 1024, 'not valid JSON, or nested deeper than 1,024 levels',
    'not valid JSON')
