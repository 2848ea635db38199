//! Rules for single values of a configuration file.
//!
//! Every refusal names a value to write instead.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use toml::de::DeValue;
use url::{Host, Url};

use super::HostPort;
use crate::duration;

/// Kafka refuses longer topic names (`Topic.MAX_NAME_LENGTH`).
const TOPIC_NAME_LENGTH: usize = 249;

/// Maximum length of an identifier or name. The rest of a table's file name needs room
/// in 255 bytes.
const NAME_LENGTH: usize = 128;

type Checked<T> = Result<T, String>;

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| "give true or false, without quotes".to_owned())
}

/// A whole number within `range`.
pub(crate) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Checked<T>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        value
            .as_integer()
            .and_then(|digits| i64::from_str_radix(digits.as_str(), digits.radix()).ok())
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("give a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A duration within `range`, such as `"500ms"`, `"60s"`, `"1h 30m"` or `"7d"`. A day has 24 hours.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Checked<Duration> {
    move |value| {
        let read = value.as_str().and_then(duration::parse);
        let [min, max] = [range.start(), range.end()].map(|end| SignedDuration::try_from(*end));
        let hint = || match (min, max) {
            (Ok(min), Ok(max)) => {
                format!("give a duration from {min:#} to {max:#} in quotes, such as \"{max:#}\"")
            }
            _ => "give a duration in quotes, such as \"60s\"".to_owned(),
        };
        read.filter(|duration| range.contains(duration)).ok_or_else(hint)
    }
}

/// A number of bytes within `range`, such as `"512MiB"`.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Checked<u64> {
    move |value| {
        let read = value.as_str().and_then(|text| text.parse::<ByteSize>().ok()).map(|size| size.as_u64());
        read.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let [min, max] = [*range.start(), *range.end()].map(|end| ByteSize::b(end).display().iec());
            format!("give a size from {min} to {max} in quotes, such as \"4GiB\"")
        })
    }
}

/// A string that is not empty and has no control characters.
pub(crate) fn text(value: &DeValue<'_>) -> Checked<String> {
    let text = value.as_str().ok_or("give a string in quotes")?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("give at least one character, and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A program and its arguments, such as `["aws-token", "--region", "eu-west-1"]`.
pub(crate) fn command(value: &DeValue<'_>) -> Checked<Vec<String>> {
    let example = "give a list of the program and its arguments, such as [\"/usr/local/bin/token\"]";
    let words = value.as_array().filter(|words| !words.is_empty()).ok_or(example)?;
    words.iter().map(|word| text(word.get_ref())).collect()
}

/// A string that is safe inside a SQL literal: no quotes of any kind, no backslash.
pub(crate) fn literal(value: &DeValue<'_>) -> Checked<String> {
    let text = text(value)?;
    if text.contains(['\'', '"', '`', '\\']) {
        return Err("leave out quotes, backticks and backslashes".to_owned());
    }
    Ok(text)
}

/// The type of a column, for example `Enum8('a' = 0)`. It becomes part of SQL, so brackets and
/// quotes must be closed and no character may end the type early.
pub(crate) fn column_type(value: &DeValue<'_>) -> Checked<String> {
    let kind = text(value)?;
    let (mut depth, mut quoted, mut valid) = (0_i32, false, true);
    for character in kind.chars() {
        match character {
            '\'' => quoted = !quoted,
            _ if quoted => valid &= !matches!(character, '\\' | '`' | '"'),
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' => valid &= depth > 0,
            ' ' | '=' | '_' | '-' => {}
            _ => valid &= character.is_ascii_alphanumeric(),
        }
        valid &= depth >= 0;
    }
    let valid = valid && depth == 0 && !quoted && kind.starts_with(|first: char| first.is_ascii_uppercase());
    let plain = !kind.contains("--") && kind.split('(').next().is_some_and(|name| !name.contains(' '));
    let hint = "give a ClickHouse type such as \"String\", \"DateTime64(3, 'UTC')\" or \"Enum8('a' = 0)\"";
    (valid && plain).then_some(kind).ok_or_else(|| hint.to_owned())
}

/// The name of a database, cluster or column that needs no quoting in SQL.
pub(crate) fn identifier(value: &DeValue<'_>) -> Checked<String> {
    let name = text(value)?;
    let good = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.len() <= NAME_LENGTH;
    good.then_some(name).ok_or_else(|| {
        format!(
            "use letters, digits and underscores, not a digit first, at most {NAME_LENGTH}: it goes into SQL"
        )
    })
}

/// A name for people and file systems: letters, digits, dots, dashes, underscores.
pub(crate) fn node_name(value: &DeValue<'_>) -> Checked<String> {
    let name = text(value)?;
    is_node_name(&name)
        .then_some(name)
        .ok_or_else(|| format!("use letters, digits, dots, dashes and underscores, at most {NAME_LENGTH}"))
}

pub(crate) fn is_node_name(name: &str) -> bool {
    is_plain(name) && name.len() <= NAME_LENGTH
}

/// A topic name that Kafka accepts.
pub(crate) fn topic_name(value: &DeValue<'_>) -> Checked<String> {
    let name = text(value)?;
    check_topic_name(&name).map(|()| name)
}

/// Like [`topic_name`], for a name that is a key.
pub(crate) fn check_topic_name(name: &str) -> Checked<()> {
    let good = is_plain(name) && name.len() <= TOPIC_NAME_LENGTH && name != "." && name != "..";
    good.then_some(()).ok_or_else(|| {
        format!(
            "use letters, digits, dots, dashes and underscores, at most {TOPIC_NAME_LENGTH}, as Kafka does"
        )
    })
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// The URL of an HTTP interface. Credentials in it are refused, because they would appear
/// in messages.
pub(crate) fn http_url(value: &DeValue<'_>) -> Checked<Url> {
    let text = value.as_str().ok_or("give a URL in quotes, such as \"http://127.0.0.1:8123\"")?;
    let url =
        Url::parse(text).map_err(|error| format!("{error}: give a URL such as http://127.0.0.1:8123"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("begin it with http:// or https:// and a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "leave the user and password out: see clickhouse.user and clickhouse.password_file".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("end it before the ? or #".to_owned());
    }
    Ok(url)
}

/// `host:port`; IPv6 addresses in brackets.
pub(crate) fn host_port(value: &DeValue<'_>) -> Checked<HostPort> {
    let text = value.as_str().ok_or("give host:port in quotes")?;
    let wrong = || "give host:port, such as 127.0.0.1:9000 or [::1]:9000".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = match Host::parse(host).map_err(|_| wrong())? {
        // It goes into SQL and into lists that are separated by commas.
        Host::Domain(name) if !is_plain(&name) => {
            return Err("use letters, digits, dots, dashes and underscores in the host".to_owned());
        }
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Ok(HostPort { host, port })
}

/// A non-empty list without duplicates; every item follows `rule`.
pub(crate) fn list_of<T: PartialEq>(
    rule: impl Fn(&DeValue<'_>) -> Checked<T>,
) -> impl Fn(&DeValue<'_>) -> Checked<Vec<T>> {
    move |value| {
        let items =
            value.as_array().filter(|items| !items.is_empty()).ok_or("give a list of at least one item")?;
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let item = rule(item.get_ref()).map_err(|problem| format!("item {}: {problem}", index + 1))?;
            if read.contains(&item) {
                return Err(format!("item {} is there twice: remove one", index + 1));
            }
            read.push(item);
        }
        Ok(read)
    }
}

/// One of the words of `choices`.
pub(crate) fn one_of<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Checked<T> {
    move |value| {
        let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("give {}", words.join(" or "))
        })
    }
}

/// A timestamp with its offset from UTC.
pub(crate) fn timestamp(value: &DeValue<'_>) -> Checked<jiff::Timestamp> {
    let timestamp = value.as_str().and_then(|text| text.parse().ok());
    timestamp
        .ok_or_else(|| "give a time with its zone in quotes, such as \"2026-11-28T21:05:00Z\"".to_owned())
}

/// The path of a file or folder.
pub(crate) fn path(value: &DeValue<'_>) -> Checked<std::path::PathBuf> {
    text(value).map(Into::into)
}
