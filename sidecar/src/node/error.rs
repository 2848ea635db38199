//! Errors between posthouse and a node.

use std::error::Error;
use std::fmt;

use posthouse_udf::functions::FUNCTIONS;

use super::answer::AnswerFault;
use crate::{rights, tls};

/// The client hides such a message.
const NO_MESSAGE: &str = "its message is not UTF-8 or longer than 1 MiB: see the server's log";

/// Code for an exception without one of ClickHouse's.
const NO_CODE: u32 = 0;

/// Longest part of a server's message that is reported.
const MAX_MESSAGE_CHARS: usize = 16 << 10;

/// ClickHouse's code for a missing right.
const ACCESS_DENIED: u32 = 497;

/// ClickHouse's code for an unknown function.
const UNKNOWN_FUNCTION: u32 = 46;

/// ClickHouse's codes for a wrong user or password: `UNKNOWN_USER`, `WRONG_PASSWORD`,
/// `REQUIRED_PASSWORD`, `AUTHENTICATION_FAILED`.
const NO_ACCESS: [u32; 4] = [192, 193, 194, 516];

#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// No reply: the port is closed, the connection broke, or the node was silent for
    /// `clickhouse.timeout`. A statement in flight may or may not have been executed.
    #[error("node {name} is unreachable at {url}: {problem}: check that it runs and that url is right")]
    Unreachable { name: String, url: String, problem: String },
    /// The server replied with an exception.
    #[error("node {name} at {url} refused with code {code}: {message}")]
    Refused {
        name: String,
        url: String,
        /// ClickHouse's error code (`system.errors.code`); 0 if it gave none.
        code: u32,
        message: String,
    },
    /// Rows of an unexpected shape, a server that is not ClickHouse, or parameters that can't be
    /// sent.
    #[error("node {name} at {url}: the request or its answer is malformed: {problem}")]
    Answer { name: String, url: String, problem: String },
}

impl NodeError {
    /// ClickHouse's error code, if the server refused and gave one.
    pub(crate) fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } if *code != NO_CODE => Some(*code),
            _ => None,
        }
    }

    /// Whether the server refused user or password.
    pub(super) fn is_login(&self) -> bool {
        self.code().is_some_and(|code| NO_ACCESS.contains(&code))
    }
}

/// All unusable nodes, so that an operator can fix them in one go.
#[derive(Debug)]
pub(crate) struct NodesError(
    /// At least one, in the order of the nodes.
    pub(crate) Vec<NodeError>,
);

impl Error for NodesError {}

impl fmt::Display for NodesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// Code and message of `Code: 60. DB::Exception: Unknown table … (UNKNOWN_TABLE) (version 26.7…)`.
///
/// The client passes on `Code: 60` alone if the message is not UTF-8, for example because it quotes
/// an id, or if it is too long to be read. Control characters are escaped, because the message goes
/// to a terminal.
pub(super) fn exception(text: &str) -> (u32, String) {
    let text = text.trim();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let code = text.strip_prefix("Code: ").and_then(|rest| {
        let (code, message) = rest.split_at_checked(digits(rest))?;
        Some((code.parse().ok()?, message.trim_start_matches(". ").trim_start_matches("DB::Exception: ")))
    });
    let (code, message) = code.unwrap_or((NO_CODE, text));
    let message = message.rsplit_once(" (version ").map_or(message, |(message, _)| message);
    let message = match (code, message) {
        (_, "") => NO_MESSAGE.to_owned(),
        // A page of advice for other setups follows.
        (code, message) if NO_ACCESS.contains(&code) => {
            let said = printable(message.lines().next().unwrap_or_default());
            format!(
                "{said}: check clickhouse.user and POSTHOUSE_CLICKHOUSE_PASSWORD or clickhouse.password_file"
            )
        }
        (ACCESS_DENIED, message) => rights::with_grant(&printable(message)),
        (UNKNOWN_FUNCTION, message) => with_install(printable(message)),
        (_, message) => printable(message),
    };
    (code, message)
}

/// The message with the next step, if the unknown function is one of posthouse.
fn with_install(message: String) -> String {
    match FUNCTIONS.iter().any(|function| message.contains(function.name)) {
        true => format!("{message}: run posthouse udf install on the node's machine"),
        false => message,
    }
}

/// The message with escaped control characters, and without a long rest.
fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len().min(MAX_MESSAGE_CHARS));
    for character in message.chars().take(MAX_MESSAGE_CHARS) {
        match character {
            '\n' | '\t' => text.push(character),
            _ if character.is_control() => text.extend(character.escape_default()),
            _ => text.push(character),
        }
    }
    if message.chars().nth(MAX_MESSAGE_CHARS).is_some() {
        text.push_str("… (the server's log has the rest)");
    }
    text
}

/// Innermost cause, which names the problem: the outer layers only say "client error" and "tcp
/// connect error".
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string());
    format!("{}{}{}", first.unwrap_or_default(), characters.as_str(), tls::hint(&text))
}

/// The fault of an answer that was not read to its end.
pub(super) fn answer_fault(error: &(dyn Error + 'static)) -> Option<AnswerFault> {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match inner.and_then(|inner| inner.downcast_ref::<AnswerFault>()) {
        Some(fault) => Some(fault.clone()),
        None => answer_fault(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_exception_is_taken_apart() {
        let text = "Code: 60. DB::Exception: Unknown table expression identifier 'a.b' (UNKNOWN_TABLE) (version 26.7.3)";
        let (code, message) = exception(text);
        assert_eq!(
            (code, message.as_str()),
            (60, "Unknown table expression identifier 'a.b' (UNKNOWN_TABLE)")
        );
        assert_eq!(exception("503 Service Unavailable"), (NO_CODE, "503 Service Unavailable".to_owned()));
        assert_eq!(exception("Code: 754"), (754, NO_MESSAGE.to_owned()));
        for (function, has_step) in [("personOf", true), ("theirs", false)] {
            let (_, message) = exception(&format!(
                "Code: 46. DB::Exception: Function with name `{function}` does not exist. In scope"
            ));
            assert_eq!(
                message.ends_with("In scope: run posthouse udf install on the node's machine"),
                has_step
            );
        }
        let (_, message) = exception("Code: 60. DB::Exception: \x1b[2Ja\u{9b}b\nc");
        assert_eq!(message, "\\u{1b}[2Ja\\u{9b}b\nc");
        let (_, message) = exception(&format!("Code: 60. {}", "ü".repeat(MAX_MESSAGE_CHARS + 1)));
        assert!(message.len() < 2 * MAX_MESSAGE_CHARS + 100 && message.ends_with("the rest)"));
        let (code, message) =
            exception("Code: 194. DB::Exception: default: Authentication failed\n\nIf you use …");
        assert_eq!(
            (code, message.starts_with("default: Authentication failed: check")),
            (194, true),
            "{message}"
        );
    }
}
