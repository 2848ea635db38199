{#- The written columns of an event, the same in all event tables. -#}
{%- for column in events.written -%}
{{ column.ident }} {{ column.type }}{{ ",\n" if not loop.last }}
{%- endfor -%}
