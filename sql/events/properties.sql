{#- Properties as in the message. A string is the parser's value. An object, a list or a number is
    cut out of the message byte for byte, because the parser's text has no white space and other
    numbers (1.0 becomes 1, 1e2 becomes 100, digits beyond a double's are lost). The cut is used
    only if the parser reads the same from it. After an earlier field `properties` at a deeper
    level, or if the name has escapes, the parser's text is used. -#}

{#- The message if properties may be no string, else empty, so that most messages cost little. -#}
{%- macro unquoted() -%}
if(position(message, '"properties":"') > 0, '', message)
{%- endmacro -%}

{%- macro properties() -%}
{%- set cut = "replaceRegexpOne(simpleJSONExtractRaw(replaceRegexpOne(unquoted, '\"properties\"\\\\s*:\\\\s*', '\"properties\":'), 'properties'), '\\\\s+$', '')" -%}
ifNull(if((unquoted != '') * (JSONType(unquoted, 'properties') != 'String') * (JSONExtractRaw({{ cut }}) = field.properties) != 0, {{ cut }}, field.properties), '')
{%- endmacro -%}
