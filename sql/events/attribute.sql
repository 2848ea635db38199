{#- A pattern for the value of an attribute of an elements chain. The start of a chain, a colon or
    the quote of the attribute before it precede its name, so that `href` does not match
    `attr__href`. A quote within a value has a backslash before it. -#}
{%- macro attribute(name) -%}
'(?:^|[:"]){{ name }}="((?:[^"\\\\]|\\\\.)*)"'
{%- endmacro -%}
