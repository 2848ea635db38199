//! Tokens that a shard remembers without having their parts: a node without replication writes a token down before its part is
//! in place, so that one that is killed in between drops the block when it comes again, and says that it is stored.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How often each block's token turned out to be a ghost in this run.
///
/// The next token is counted, not random: a block that is still being written by an attempt whose line was cut must be
/// known by its token when it is sent again.
#[derive(Debug, Default)]
pub struct Ghosts(Mutex<BTreeMap<String, u32>>);

impl Ghosts {
    /// The token to send a block with, whose first one is `token`.
    pub(super) fn token(&self, token: &str) -> String {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token) {
            Some(ghosts) => format!("{token}-{ghosts}"),
            None => token.to_owned(),
        }
    }

    /// The block was acknowledged under its token, and is not there.
    pub(super) fn found(&self, token: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(token.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ghost_has_its_block_sent_under_the_next_token() {
        let ghosts = Ghosts::default();
        assert_eq!(ghosts.token("t"), "t");
        ghosts.found("t");
        assert_eq!((ghosts.token("t"), ghosts.token("u")), ("t-1".to_owned(), "u".to_owned()));
        ghosts.found("t");
        assert_eq!(ghosts.token("t"), "t-2");
    }
}
