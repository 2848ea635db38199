//! Findings about stalled consumer groups.

use super::super::stalls::Stall;
use super::{CheckInput, Finding, fault, listed};
use crate::topics::plan::values::duration;

/// With more partitions, only their number is shown.
const MAX_NAMED: usize = 8;

pub(super) fn check(found: &CheckInput) -> Vec<Finding> {
    found.stalls().iter().map(finding).collect()
}

fn finding(stall: &Stall) -> Finding {
    let seconds = |seconds: i64| duration(seconds.saturating_mul(1000));
    let text = format!(
        "{} messages of {} wait in {}, the oldest for {}, and it has not moved for {}: {}",
        stall.messages,
        stall.topic,
        partitions(stall),
        seconds(stall.oldest_s),
        seconds(stall.stalled_s),
        stall.reason
    );
    fault(format!("group {}", stall.group), text, stall.reason.next())
}

/// Partition numbers, or their count if there are more than [`MAX_NAMED`].
fn partitions(stall: &Stall) -> String {
    let numbers: Vec<String> = stall.partitions.iter().map(ToString::to_string).collect();
    match numbers.len() {
        1 => format!("partition {}", numbers.concat()),
        2..=MAX_NAMED => format!("partitions {}", listed(numbers.iter().map(String::as_str))),
        count => format!("{count} partitions"),
    }
}
