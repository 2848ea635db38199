//! The library's last messages about its connections, as reasons of faults.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages that are kept. Each broker of a cluster may be out of reach for a reason of its own.
const MAX_REASONS: usize = 16;
/// Length of a kept message in bytes.
const MAX_REASON_BYTES: usize = 400;
/// Age of a message that still explains a fault. The library does not repeat itself for half a
/// minute.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Words of messages, the most telling ones first.
const STRENGTHS: [&[&str]; 4] = [
    &["authentication", "sasl", "no token"],
    &["ssl ", "certificate"],
    &["failed to resolve", "connection refused", "no route to host", "network is unreachable"],
    &["disconnected", "timed out", "parse", "invalid", "failed"],
];

/// Bounded, and without repetitions.
#[derive(Default)]
pub(super) struct Reasons(Mutex<VecDeque<(Instant, String)>>);

impl Reasons {
    pub(super) fn note(&self, text: &str) {
        // "[thrd:sasl_ssl://b:1/bootstrap]: sasl_ssl://b:1/bootstrap: …"
        let text = text.split_once("]: ").map_or(text, |(_, text)| text);
        let mut end = text.len().min(MAX_REASON_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.retain(|(_, known)| *known != text);
        if reasons.len() == MAX_REASONS {
            reasons.pop_front();
        }
        reasons.push_back((Instant::now(), text));
    }

    /// The most telling message of the last minute, and the latest of these.
    pub(super) fn strongest(&self) -> Option<String> {
        let reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = reasons.iter().filter(|(noted, _)| noted.elapsed() < MAX_AGE);
        recent.map(|(_, text)| text).rev().min_by_key(|text| strength(text)).cloned()
    }
}

/// Whether the message is about a login that the brokers refuse.
pub(super) fn is_refused_login(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("sasl authentication error") || text.contains("authentication failed")
}

fn strength(text: &str) -> usize {
    let text = text.to_lowercase();
    let has = |words: &&[&str]| words.iter().any(|word| text.contains(word));
    STRENGTHS.iter().position(has).unwrap_or(STRENGTHS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_message_is_the_reason() {
        let reasons = Reasons::default();
        assert_eq!(reasons.strongest(), None);
        reasons.note("[thrd:a:1/1]: a:1/1: Connect to ipv4#10.0.0.1:1 failed: Connection refused");
        reasons.note("[thrd:b:1/2]: b:1/2: SASL authentication error: Authentication failed");
        reasons.note("[thrd:app]: 2/2 brokers are down");
        reasons.note("[thrd:c:1/3]: c:1/3: Connect to ipv4#10.0.0.3:1 failed: Connection refused");
        assert_eq!(
            reasons.strongest().as_deref(),
            Some("b:1/2: SASL authentication error: Authentication failed")
        );
    }

    #[test]
    fn the_latest_of_equally_telling_messages_is_the_reason() {
        let reasons = Reasons::default();
        for broker in ["a", "b", "a", "c", "b"] {
            reasons.note(&format!("{broker}: Connection refused"));
        }
        assert_eq!(reasons.strongest().as_deref(), Some("b: Connection refused"));
    }

    #[test]
    fn messages_are_bounded() {
        let reasons = Reasons::default();
        for number in 0..1_000 {
            reasons.note(&format!("{number}{}\n", "ü".repeat(10_000)));
        }
        let kept = reasons.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(kept.len(), MAX_REASONS);
        assert!(kept.iter().all(|(_, text)| text.len() <= MAX_REASON_BYTES && !text.contains('\n')));
    }
}
