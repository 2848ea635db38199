//! Stale tokens: known to a shard although their parts are missing.
//!
//! A node without replication records a token before its part is in place. If the node is killed in
//! between, it drops the block on retry and reports it as stored.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Number of stale tokens of each block in this run.
///
/// The next token is a counter instead of a random number. A block that a disconnected attempt is
/// still writing must be recognized by its token on the next attempt.
#[derive(Debug, Default)]
pub(crate) struct StaleTokens(Mutex<BTreeMap<String, u32>>);

impl StaleTokens {
    /// Token for sending a block, given its first token.
    pub(super) fn token(&self, token: &str) -> String {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token) {
            Some(stale) => format!("{token}-{stale}"),
            None => token.to_owned(),
        }
    }

    /// Records that the block was acknowledged under its token but is missing.
    pub(super) fn found(&self, token: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(token.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ghost_has_its_block_sent_under_the_next_token() {
        let stale_tokens = StaleTokens::default();
        assert_eq!(stale_tokens.token("t"), "t");
        stale_tokens.found("t");
        assert_eq!((stale_tokens.token("t"), stale_tokens.token("u")), ("t-1".to_owned(), "u".to_owned()));
        stale_tokens.found("t");
        assert_eq!(stale_tokens.token("t"), "t-2");
    }
}
