//! Metrics of tasks, read from their heartbeats.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::registry::{MetricEntry, MetricRegistry};
use crate::supervise::{Board, TaskHealth};

const READY: MetricEntry = MetricEntry {
    name: "posthouse_task_ready",
    kind: MetricType::Gauge,
    labels: &["task"],
    help: "1 if a task of this posthouse does its work; otherwise /ready has the reason",
};
const HEARTBEAT_AGE: MetricEntry = MetricEntry {
    name: "posthouse_task_heartbeat_age_seconds",
    kind: MetricType::Gauge,
    labels: &["task"],
    help: "Seconds since the last heartbeat of a task",
};
const RESTARTS: MetricEntry = MetricEntry {
    name: "posthouse_task_restarts_total",
    kind: MetricType::Counter,
    labels: &["task"],
    help: "Restarts of a task that ended, panicked or stalled; the log has the reason",
};

/// Collector of the board's tasks.
#[derive(Debug)]
pub(crate) struct TaskCollector(Board);

impl TaskCollector {
    pub(crate) fn register(registry: &mut MetricRegistry, board: &Board) {
        registry.collector(&[READY, HEARTBEAT_AGE, RESTARTS], Self(board.clone()));
    }
}

impl Collector for TaskCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let health = self.0.health();
        let is_ready = |task: &TaskHealth| u64::from(task.problem(health.now).is_none());
        let age = |task: &TaskHealth| (health.now - task.pulse.beat).as_secs();
        let mut ready = READY.begin(&mut encoder)?;
        for task in &health.tasks {
            ready.encode_family(&[("task", &*task.name)])?.encode_gauge(&is_ready(task))?;
        }
        let mut ages = HEARTBEAT_AGE.begin(&mut encoder)?;
        for task in &health.tasks {
            ages.encode_family(&[("task", &*task.name)])?.encode_gauge(&age(task))?;
        }
        let mut restarts = RESTARTS.begin(&mut encoder)?;
        for task in &health.tasks {
            let labels = [("task", &*task.name)];
            restarts.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&task.restarts, None)?;
        }
        Ok(())
    }
}
