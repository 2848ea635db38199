//! Supervision of long-running tasks: heartbeats, restarts and health.

mod health;
mod heartbeat;
mod memory;
mod restart;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::health::{Health, TaskHealth};
pub(crate) use self::heartbeat::Heartbeat;
pub(crate) use self::memory::{limit_arenas, trim};
pub(crate) use self::task::{Task, panicked};

/// All tasks of the process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Vec<Arc<Entry>>>>);

/// A task on the board.
#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    heartbeat: Heartbeat,
    record: Mutex<TaskRecord>,
}

/// The supervisor's record of a task.
#[derive(Debug, Default)]
struct TaskRecord {
    fault: Option<String>,
    restarts: u64,
}

/// Waits until `stop` is true or its sender is dropped.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The returned reference must be dropped, because it locks the channel.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Board {
    /// Heartbeat of a task that is run and watched by another task.
    pub(crate) fn heartbeat(&self, name: &'static str) -> Heartbeat {
        self.enter(name.into()).heartbeat.clone()
    }

    /// Current health of all tasks.
    pub(crate) fn health(&self) -> Health {
        let health = |entry: &Arc<Entry>| {
            let (pulse, record) = (entry.heartbeat.pulse(), entry.record());
            TaskHealth {
                name: entry.name.clone(),
                pulse,
                fault: record.fault.clone(),
                restarts: record.restarts,
            }
        };
        let tasks = self.entries().iter().map(health).collect();
        Health { tasks, now: Instant::now() }
    }

    fn enter(&self, name: Arc<str>) -> Arc<Entry> {
        let entry = Entry { name, heartbeat: Heartbeat::default(), record: Mutex::default() };
        let entry = Arc::new(entry);
        self.entries().push(Arc::clone(&entry));
        entry
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn record(&self) -> MutexGuard<'_, TaskRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
