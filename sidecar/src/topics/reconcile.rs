//! The loop of a running posthouse: looks at topics again and again, and brings them in line where that is wanted.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::plan::Step;
use super::watcher::Watcher;
use super::{Lock, LockError, LockScope, Options, Outcome, Plan, apply, compare, load};
use crate::config::{Config, Reconcile};
use crate::http::{Metric, Metrics};
use crate::kafka::Client;
use crate::node::Node;

/// Looks every period until `stop` says so. What fails is logged and counted, and tried again with the next look.
pub async fn reconcile(config: Arc<Config>, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
    for counter in [Metric::TopicsChanges, Metric::TopicsFailures, Metric::TopicsErrors] {
        metrics.add(counter, 0);
    }
    let mut watcher = Watcher::default();
    let mut ticks = interval(config.daemon.topics_period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // A look that has begun is finished: an apply would leave its steps half done.
        match look(&config, &metrics, &mut watcher).await {
            Ok(()) => metrics.set(Metric::TopicsLook, seconds_since_1970()),
            Err(error) => {
                metrics.add(Metric::TopicsErrors, 1);
                tracing::error!("topics: {error:#}");
            }
        }
    }
}

async fn look(config: &Config, metrics: &Metrics, watcher: &mut Watcher) -> anyhow::Result<()> {
    let (client, nodes) = (Client::new(&config.kafka)?, Node::all(config));
    // Read anew, so that an edited file takes effect.
    let spec = load(&config.kafka.topics)?;
    let mut plan = compare(&client, &nodes, &spec, &Options::default()).await?.0;
    if config.daemon.topics == Reconcile::Apply && plan.steps.iter().any(is_harmless) {
        match Lock::take(&client, &LockScope::topics()).await {
            Ok(lock) => {
                plan = compare(&client, &nodes, &spec, &Options::default()).await?.0;
                bring_in_line(&client, &lock, &plan, metrics).await?;
                drop(lock);
                plan = compare(&client, &nodes, &spec, &Options::default()).await?.0;
            }
            // Another node's posthouse does the same work.
            Err(held @ LockError::Held { .. }) => tracing::debug!("topics: {held}"),
            Err(error) => return Err(error.into()),
        }
    }
    metrics.set(Metric::TopicsDifferences, plan.steps.len() as u64);
    metrics.set(Metric::TopicsRefused, plan.refused.len() as u64);
    watcher.look(config, &client, &nodes, metrics).await
}

/// Whether a loop may take a step by itself: what deletes messages waits for somebody who looks.
fn is_harmless(step: &Step) -> bool {
    step.change.deletes().is_none()
}

async fn bring_in_line(client: &Client, lock: &Lock, plan: &Plan, metrics: &Metrics) -> anyhow::Result<()> {
    let steps: Vec<Step> = plan.steps.iter().filter(|step| is_harmless(step)).cloned().collect();
    for applied in apply(client, lock, &steps).await? {
        let change = &applied.step.change;
        match applied.outcome {
            Outcome::Done => {
                metrics.add(Metric::TopicsChanges, 1);
                tracing::info!("topics: {change}");
            }
            Outcome::AlreadyDone => tracing::info!("topics: {change}: somebody else has done it"),
            Outcome::Failed { reason } => {
                metrics.add(Metric::TopicsFailures, 1);
                tracing::error!("topics: {change}: {reason}");
            }
        }
    }
    Ok(())
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
