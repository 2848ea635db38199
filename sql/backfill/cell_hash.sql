{#- The hash of one value of a column beyond the core. posthouse computes the same from the file
    (sidecar/src/backfill/extra/hash.rs). The value has the type that it was loaded as. Items of
    a list are summed with their places, fields of a map without. The table is named, because a
    column may have the name of a query's alias. -#}
{%- macro cell_hash(column) -%}
{%- set ident = 'events.`' ~ column.name ~ '`' -%}
{%- set place = "reinterpretAsFixedString(_offset), reinterpretAsFixedString(xxh3('" ~ column.name ~ "'))" -%}
{%- set value = "CAST(" ~ ("assumeNotNull(" ~ ident ~ ")" if column.is_nullable else ident) ~ ", '" ~ column.inner | replace("'", "\\'") ~ "')" -%}
{%- if column.layout == 'text' -%}
{%- set hashed = "xxh3(" ~ value ~ ")" -%}
{%- elif column.layout == 'list' -%}
{%- set hashed = "arraySum((item, place) -> xxh3(concat(reinterpretAsFixedString(place), reinterpretAsFixedString(xxh3(item)))), " ~ value ~ ", arrayEnumerate(" ~ value ~ "))" -%}
{%- elif column.layout == 'map' -%}
{%- set hashed = "arraySum((key, value) -> xxh3(concat(reinterpretAsFixedString(xxh3(key)), reinterpretAsFixedString(xxh3(value)))), mapKeys(" ~ value ~ "), mapValues(" ~ value ~ "))" -%}
{%- else -%}
{%- set hashed = value -%}
{%- endif -%}
{%- if column.is_nullable -%}
if(isNull({{ ident }}), xxh3(concat({{ place }})), xxh3(concat({{ place }}, reinterpretAsFixedString({{ hashed }}))))
{%- else -%}
xxh3(concat({{ place }}, reinterpretAsFixedString({{ hashed }})))
{%- endif -%}
{%- endmacro -%}
