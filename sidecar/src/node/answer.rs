//! Limits of one answer over HTTP, checked on its bytes.
//!
//! The client reads heads and error messages of any size, follows no redirect but hides its target,
//! and takes each page with status 200 as success. So the bytes are checked below it.

/// Maximum size of an answer's head. ClickHouse's have about 1 KiB.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Maximum size of an error message. ClickHouse quotes the statement in some of them.
const MAX_ERROR_BYTES: u64 = 1 << 20;
/// Every answer of a server or of chproxy has a header such as `X-ClickHouse-Query-Id`.
const HEADER_PREFIX: &str = "x-clickhouse-";
const MAX_QUOTED_CHARS: usize = 200;

/// Why an answer is not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerFault {
    #[error("it redirects to {0}: set url to the node itself, because posthouse sends no password elsewhere")]
    Redirect(String),
    #[error("the answer has no header of ClickHouse: check that url is a node's HTTP interface")]
    Foreign,
    #[error(
        "the answer has the encoding {0}, which posthouse does not ask for: check the proxy before the node"
    )]
    Encoded(String),
    #[error("the head of the answer has more than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    #[error("its error message has more than {MAX_ERROR_BYTES} bytes")]
    LongError,
    #[error("the answer has more than {0} bytes")]
    LongBody(u64),
    #[error("the answer has {received} bytes after {seconds} s and goes on")]
    Slow { received: u64, seconds: u64 },
}

/// The checks of one connection.
#[derive(Debug)]
pub(super) struct AnswerGuard {
    part: AnswerPart,
    max_body: u64,
}

/// The part of the answer that is read next.
#[derive(Debug)]
enum AnswerPart {
    /// With its bytes so far.
    Head(Vec<u8>),
    Body {
        left: u64,
        fault: AnswerFault,
    },
}

impl AnswerGuard {
    pub(super) fn new(max_body: u64) -> Self {
        Self { part: AnswerPart::Head(Vec::new()), max_body }
    }

    /// Expects a new answer.
    pub(super) fn expect(&mut self) {
        self.part = AnswerPart::Head(Vec::new());
    }

    /// Checks the next bytes of the answer.
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), AnswerFault> {
        match &mut self.part {
            AnswerPart::Body { left, fault } => {
                *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| fault.clone())?;
                Ok(())
            }
            AnswerPart::Head(head) => {
                // The end may span two reads.
                let from = head.len().saturating_sub(3);
                head.extend_from_slice(bytes);
                let Some(end) = memchr::memmem::find(&head[from..], b"\r\n\r\n") else {
                    return if head.len() > MAX_HEAD_BYTES { Err(AnswerFault::LongHead) } else { Ok(()) };
                };
                let mut head = std::mem::take(head);
                let body = head.split_off(from + end + 4);
                if head.len() > MAX_HEAD_BYTES {
                    return Err(AnswerFault::LongHead);
                }
                self.part = self.body(&String::from_utf8_lossy(&head))?;
                self.check(&body)
            }
        }
    }

    fn body(&self, head: &str) -> Result<AnswerPart, AnswerFault> {
        let status = head.split(' ').nth(1).unwrap_or_default();
        let error = AnswerPart::Body { left: MAX_ERROR_BYTES, fault: AnswerFault::LongError };
        // The client reports what is no HTTP.
        if !head.starts_with("HTTP/1.") {
            return Ok(error);
        }
        match status.as_bytes().first() {
            // The head of the real answer follows.
            Some(b'1') => Ok(AnswerPart::Head(Vec::new())),
            Some(b'3') => {
                Err(AnswerFault::Redirect(quoted(header(head, "location").unwrap_or("no location"))))
            }
            Some(b'2') => {
                let encoding = header(head, "content-encoding").filter(|encoding| *encoding != "identity");
                if let Some(encoding) = encoding {
                    return Err(AnswerFault::Encoded(quoted(encoding)));
                }
                if header(head, "x-clickhouse-exception-code").is_some() {
                    return Ok(error);
                }
                if !lines(head).any(|(name, _)| name.to_ascii_lowercase().starts_with(HEADER_PREFIX)) {
                    return Err(AnswerFault::Foreign);
                }
                let fault = AnswerFault::LongBody(self.max_body);
                Ok(AnswerPart::Body { left: self.max_body, fault })
            }
            _ => Ok(error),
        }
    }
}

fn lines(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().skip(1).filter_map(|line| line.split_once(':'))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    lines(head).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn quoted(value: &str) -> String {
    value.chars().take(MAX_QUOTED_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nX-ClickHouse-Query-Id: a\r\n";

    /// The fault of an answer whose bytes arrive one by one, which is also that of the whole.
    fn fault(answer: &str) -> Option<AnswerFault> {
        let mut one_by_one = AnswerGuard::new(100);
        let fault = answer.as_bytes().iter().find_map(|byte| one_by_one.check(&[*byte]).err());
        assert_eq!(AnswerGuard::new(100).check(answer.as_bytes()).err(), fault, "{answer:?}");
        fault
    }

    #[test]
    fn accepts_answers_of_clickhouse() {
        for answer in [
            format!("{OK}\r\n1\n"),
            format!("HTTP/1.1 100 Continue\r\n\r\n{OK}\r\n1\n"),
            "HTTP/1.1 404 Not Found\r\nX-ClickHouse-Exception-Code: 60\r\n\r\nCode: 60".to_owned(),
            format!("HTTP/1.1 502 Bad Gateway\r\n\r\n{}", "a".repeat(1000)),
            format!("{OK}\r\n{}", "a".repeat(100)),
        ] {
            assert_eq!(fault(&answer), None, "{answer}");
        }
    }

    #[test]
    fn refuses_answers_of_others_and_long_ones() {
        let redirect = "HTTP/1.1 307 Temporary\r\nlocation: https://evil\x1b/\r\n\r\n";
        assert_eq!(fault(redirect), Some(AnswerFault::Redirect("https://evil\\u{1b}/".to_owned())));
        assert_eq!(
            fault("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"),
            Some(AnswerFault::Foreign)
        );
        let encoded = format!("{OK}Content-Encoding: gzip\r\n\r\n");
        assert_eq!(fault(&encoded), Some(AnswerFault::Encoded("gzip".to_owned())));
        assert_eq!(fault(&format!("{OK}\r\n{}", "a".repeat(101))), Some(AnswerFault::LongBody(100)));
        let head = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(fault(&head), Some(AnswerFault::LongHead));
        let mut guard = AnswerGuard::new(100);
        let error = "HTTP/1.1 200 OK\r\nX-ClickHouse-Exception-Code: 60\r\n\r\n";
        assert_eq!(guard.check(error.as_bytes()), Ok(()));
        assert_eq!(guard.check(&vec![b'A'; MAX_ERROR_BYTES as usize + 1]), Err(AnswerFault::LongError));
    }

    #[test]
    fn checks_each_answer_of_a_connection() {
        let mut guard = AnswerGuard::new(100);
        for _ in 0..3 {
            assert_eq!(guard.check(format!("{OK}\r\n{}", "a".repeat(90)).as_bytes()), Ok(()));
            guard.expect();
        }
        assert_eq!(guard.check(b"HTTP/1.1 200 OK\r\n\r\n"), Err(AnswerFault::Foreign));
    }
}
