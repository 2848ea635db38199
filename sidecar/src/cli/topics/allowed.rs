//! Options for risky changes, the same for plan and apply.

use std::time::Duration;

use clap::Args;

use crate::duration;
use crate::topics::Options;

#[derive(Debug, Args)]
pub(super) struct Allowed {
    /// Reset configs that the file no longer names to the brokers' defaults
    #[arg(long)]
    prune: bool,

    /// Largest drop of a retention in one apply, such as 12h or 3d, because brokers delete older
    /// messages; --yes-loss does not change it
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = drop_at_once)]
    max_retention_drop: Duration,

    /// Delete this topic, which the file marks for deletion; may be repeated
    #[arg(long, value_name = "TOPIC")]
    yes_delete: Vec<String>,

    /// Change configs of this topic even if the brokers then delete messages at once;
    /// may be repeated
    #[arg(long, value_name = "TOPIC")]
    yes_loss: Vec<String>,
}

/// Parses the time by which a retention may drop.
fn drop_at_once(text: &str) -> Result<Duration, String> {
    let time = duration::option(text)?;
    // Kafka counts in milliseconds.
    if time.as_millis() == 0 {
        return Err("give at least 1ms; to keep a retention, write it in the topics file".to_owned());
    }
    Ok(time)
}

impl Allowed {
    pub(super) fn options(&self) -> Options {
        Options {
            prune: self.prune,
            retention_drop: self.max_retention_drop,
            yes_delete: self.yes_delete.iter().cloned().collect(),
            yes_loss: self.yes_loss.iter().cloned().collect(),
        }
    }
}
