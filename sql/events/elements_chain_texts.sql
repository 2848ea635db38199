{#- The texts of all elements, each once. -#}
{%- from 'events/attribute.sql' import attribute -%}
arrayMap(text -> replaceAll(text, '\\"', '"'), arrayDistinct(extractAll(elements_chain, {{ attribute('text') }})))
