{#- A text as a timestamp with `digits` fractional digits, or NULL. The rule for Parquet is the same
    (sidecar/src/backfill/map/time/iso8601.rs). The pattern is needed because
    parseDateTime64BestEffort invents values (measured on 26.7): '10:42' becomes a day of this year,
    '0000-00-00' the first of January, 25 o'clock the next morning, and offsets of +99:99 are added.
    An offset can lead out of the years that every version's DateTime64 holds, so the result is
    compared with them too. -#}
{%- macro timestamp(text, digits, first='1900-01-01 00:00:00', last='2299-12-31 23:59:59.999999') -%}
{%- set parsed = "parseDateTime64BestEffortOrNull(" ~ text ~ ", " ~ digits ~ ", 'UTC')" -%}
if(match({{ text }}, '^(19|2[0-2])\\d\\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])[T ]([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):?[0-5]\\d)?$') * ({{ parsed }} >= toDateTime64('{{ first }}', {{ digits }}, 'UTC')) * ({{ parsed }} <= toDateTime64('{{ last }}', {{ digits }}, 'UTC')) != 0, {{ parsed }}, NULL)
{%- endmacro -%}
{#- The same range, for the reasons of dead letters. -#}
{%- set timestamp_range = '1900-01-01 00:00:00 to 2299-12-31 23:59:59.999999 UTC' -%}
{#- The range of DateTime64 with more than six digits, in whole years, and that of DateTime. -#}
{%- set last_of_nanoseconds = '2261-12-31 23:59:59' -%}
{%- set first_second = '1970-01-01 00:00:00' -%}
{%- set last_second = '2106-02-07 06:28:15' -%}
