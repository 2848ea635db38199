{#- Filter of a page: keys of buckets whose bit is set. -#}
{%- if page -%}
WHERE bitTest(
    reinterpretAsUInt8(substring(unhex('{{ page }}'), intDiv(reinterpretAsUInt16(reverse(substring(MD5({{ key }}), 1, 2))), 8) + 1, 1)),
    reinterpretAsUInt16(reverse(substring(MD5({{ key }}), 1, 2))) % 8)
{%- endif -%}
