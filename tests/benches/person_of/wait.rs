//! Waits for the index that `posthouse run` keeps.

use std::ops::ControlFlow;

use anyhow::anyhow;
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;

use super::data::LIMIT;

/// Waits until the index of every node has this many distinct ids.
pub(super) fn wait_for_ids(site: &Site<'_>, ids: u64) -> anyhow::Result<()> {
    for node in 0..site.stack.nodes().len() {
        wait_until("an index of all distinct ids", LIMIT, || {
            match site.query_on(node, "SELECT personSnapshot('entries')") {
                Ok(found) if found.parse::<u64>().is_ok_and(|found| found >= ids) => {
                    ControlFlow::Break(Ok(()))
                }
                Ok(found) => ControlFlow::Continue(anyhow!("node {node} has {found} of {ids}")),
                // There is no index yet.
                Err(error) => ControlFlow::Continue(error),
            }
        })?;
    }
    Ok(())
}
