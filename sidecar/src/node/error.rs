//! What can go wrong between posthouse and a node.

use std::error::Error;
use std::fmt;

/// ClickHouse's code for an exception that came without one.
const NO_CODE: u32 = 0;

/// Its codes for a user or password that is not right: `UNKNOWN_USER`, `WRONG_PASSWORD`, `REQUIRED_PASSWORD`,
/// `AUTHENTICATION_FAILED`.
const NO_ACCESS: [u32; 4] = [192, 193, 194, 516];

/// What can go wrong between posthouse and a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No answer: nothing listens, the connection broke, or the node was silent for `clickhouse.timeout_s`.
    /// A statement that was under way may or may not have been done.
    #[error("node {name} is unreachable at {url}: {problem}: check that it runs and that url is right")]
    Unreachable {
        /// The node.
        name: String,
        /// Where it was expected.
        url: String,
        /// What happened instead of an answer.
        problem: String,
    },
    /// The server answered with an exception.
    #[error("node {name} at {url} refused with code {code}: {message}")]
    Refused {
        /// The node.
        name: String,
        /// Where it is.
        url: String,
        /// ClickHouse's error code (`system.errors.code`); 0 if it gave none.
        code: u32,
        /// What the server said.
        message: String,
    },
    /// Rows of another shape than asked for, not ClickHouse at all, or parameters that can't be sent.
    #[error("node {name} at {url}: the request or its answer is malformed")]
    Answer {
        /// The node.
        name: String,
        /// Where it is.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl NodeError {
    /// ClickHouse's error code, if the server refused and gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } if *code != NO_CODE => Some(*code),
            _ => None,
        }
    }
}

/// Every node that can't be used, so that all of them can be mended at once.
#[derive(Debug)]
pub struct NodesError(
    /// At least one, in the order of the nodes.
    pub Vec<NodeError>,
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
/// The client hands over `Code: 60` alone where the message is not UTF-8, such as one that quotes an id.
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
        (_, "") => "the server's message is not UTF-8: see its log".to_owned(),
        // A page of advice for other setups follows.
        (code, message) if NO_ACCESS.contains(&code) => {
            let said = message.lines().next().unwrap_or_default();
            format!(
                "{said}: check clickhouse.user and POSTHOUSE_CLICKHOUSE_PASSWORD or clickhouse.password_file"
            )
        }
        (_, message) => message.to_owned(),
    };
    (code, message)
}

/// The innermost cause: the layers around it only say "client error" and "tcp connect error".
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().to_lowercase()
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
        assert_eq!(
            exception("Code: 754"),
            (754, "the server's message is not UTF-8: see its log".to_owned())
        );
        let (code, message) =
            exception("Code: 194. DB::Exception: default: Authentication failed\n\nIf you use …");
        assert_eq!(
            (code, message.starts_with("default: Authentication failed: check")),
            (194, true),
            "{message}"
        );
    }
}
