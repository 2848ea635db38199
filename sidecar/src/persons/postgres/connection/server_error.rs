//! Error messages of PostgreSQL.

use std::fmt;

/// Maximum number of characters of a server's text in an error.
const MAX_TEXT: usize = 1000;

/// An error that PostgreSQL reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// The SQLSTATE.
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ServerError {
    /// Parses the fields of an `ErrorResponse`.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
        let (mut code, mut message) = (String::new(), String::new());
        for (kind, value) in fields {
            match kind {
                b'C' => code = visible(&String::from_utf8_lossy(value)),
                b'M' => message = visible(&String::from_utf8_lossy(value)),
                _ => {}
            }
        }
        Self { code, message }
    }

    /// Whether PostgreSQL refused the login: `invalid_password`,
    /// `invalid_authorization_specification`.
    pub(crate) fn is_refused_login(&self) -> bool {
        ["28P01", "28000"].contains(&self.code.as_str())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// Returns a server's text without the means to control a terminal, and shortened.
pub(crate) fn visible(text: &str) -> String {
    let escaped = |character: char| -> String {
        match character {
            _ if character.is_control() => character.escape_default().collect(),
            _ => character.to_string(),
        }
    };
    text.chars().take(MAX_TEXT).map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_code_and_message_and_escapes_what_controls_a_terminal() {
        let error = ServerError::parse(b"SFATAL\0VFATAL\0C28P01\0Mno \x1b[2J\x07entry \xff\0Fauth.c\0\0");
        assert_eq!(error.to_string(), "no \\u{1b}[2J\\u{7}entry \u{fffd} (28P01)");
        assert!(error.is_refused_login());
        assert_eq!(ServerError::parse(b"").to_string(), " ()");
        assert!(ServerError::parse(&[b'M'; 1 << 20]).message.len() <= MAX_TEXT);
    }
}
