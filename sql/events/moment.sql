{#- A text as a moment with so many digits below the second, or NULL. The pattern is there because
    parseDateTime64BestEffort invents (measured on 26.7): '10:42' becomes a day of this year, '0000-00-00' the first of
    January, 25 o'clock the next morning. Years are those every version's DateTime64 holds. -#}
{%- macro moment(text, digits) -%}
if(match({{ text }}, '^(19|2[0-2])\\d\\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])[T ]([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]\\d\\d:?\\d\\d)?$'), parseDateTime64BestEffortOrNull({{ text }}, {{ digits }}, 'UTC'), NULL)
{%- endmacro -%}
