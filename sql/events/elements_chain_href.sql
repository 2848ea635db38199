{#- The href of the first element that has one. -#}
{%- from 'events/attribute.sql' import attribute -%}
replaceAll(extract(elements_chain, {{ attribute('href') }}), '\\"', '"')
