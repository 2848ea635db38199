{#- Properties as the message has them. A string is what the parser says. Of an object, a list or a number the parser has
    its own text, without white space and with other numbers (1.0 becomes 1, 1e2 becomes 100, digits beyond a double's are
    gone): so it is cut out of the message, byte for byte. The cut is taken only if the parser reads the same out of it;
    after an earlier field `properties` at a deeper level, or with a name that has escapes, the parser's text remains. -#}

{#- The message where properties may be no string, else the empty text, so that most messages cost next to nothing. -#}
{%- macro unquoted() -%}
if(position(message, '"properties":"') > 0, '', message)
{%- endmacro -%}

{%- macro properties() -%}
{%- set cut = "replaceRegexpOne(simpleJSONExtractRaw(replaceRegexpOne(unquoted, '\"properties\"\\\\s*:\\\\s*', '\"properties\":'), 'properties'), '\\\\s+$', '')" -%}
ifNull(if((unquoted != '') * (JSONType(unquoted, 'properties') != 'String') * (JSONExtractRaw({{ cut }}) = field.properties) != 0, {{ cut }}, field.properties), '')
{%- endmacro -%}
