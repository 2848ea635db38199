//! Lifecycle of a task: spawn, watch, restart and stop.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep, timeout};

use super::restart::{AfterFault, FaultCount, MIN_BACKOFF, TaskFault};
use super::{Board, Entry, Heartbeat, stopped};

/// Time for an aborted task to release its thread.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A task that runs until it is stopped.
pub(crate) struct Task {
    name: Arc<str>,
    stop_timeout: Duration,
    min_backoff: Duration,
    run: Box<dyn Fn(Heartbeat, watch::Receiver<bool>) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Task {
    /// Creates a task that ends within `stop_timeout` after a stop request. `run` is called for
    /// every restart too.
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        name: impl Into<Arc<str>>,
        stop_timeout: Duration,
        run: impl Fn(Heartbeat, watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) -> Self {
        let run = Box::new(move |heartbeat, stop| run(heartbeat, stop).boxed());
        Self { name: name.into(), stop_timeout, min_backoff: MIN_BACKOFF, run }
    }

    /// Runs the task until `stop` is true, and restarts it after a fault.
    ///
    /// # Errors
    /// Fails if the task keeps failing, can't be aborted, or does not stop cleanly.
    pub(crate) async fn supervise(
        self,
        board: &Board,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let entry = board.enter(self.name.clone());
        let mut faults = FaultCount::new(self.min_backoff);
        loop {
            let begun = Instant::now();
            entry.heartbeat.begin();
            let mut running = tokio::spawn((self.run)(entry.heartbeat.clone(), stop.clone()));
            let fault = tokio::select! {
                // A task that ends because of a stop request has no fault.
                biased;
                () = stopped(&mut stop) => return self.end(&entry, running).await,
                ended = &mut running => match ended {
                    // The request may have come after its branch was polled.
                    Ok(()) if *stop.borrow() => return Ok(()),
                    Ok(()) => TaskFault::Ended,
                    Err(error) => TaskFault::Panicked(panic_message(error)),
                },
                pulse = entry.heartbeat.overdue() => {
                    if !is_aborted(&mut running).await {
                        let (task, doing) = (&self.name, pulse.doing);
                        bail!("task {task} hangs and can't be aborted ({doing}): please report this");
                    }
                    TaskFault::Stalled { doing: pulse.doing, silence: pulse.beat.elapsed() }
                }
            };
            let backoff = match faults.add(begun.elapsed()) {
                AfterFault::Restart(backoff) => backoff,
                AfterFault::GiveUp => {
                    bail!("task {} failed repeatedly, last because {fault}: see the log", self.name)
                }
            };
            tracing::error!(task = &*self.name, error = %fault, retry_in = ?backoff, "task failed");
            entry.fail(&fault);
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                () = sleep(backoff) => entry.restart(),
            }
        }
    }

    async fn end(&self, entry: &Arc<Entry>, mut running: JoinHandle<()>) -> anyhow::Result<()> {
        let task = &*self.name;
        match timeout(self.stop_timeout, &mut running).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(panicked(task, error)),
            Err(_) => {
                let doing = entry.heartbeat.pulse().doing;
                // A task that blocks its thread ends with the process.
                is_aborted(&mut running).await;
                let seconds = self.stop_timeout.as_secs();
                bail!("task {task} was aborted, because it did not end within {seconds} s: {doing}")
            }
        }
    }
}

impl Entry {
    fn fail(&self, fault: &TaskFault) {
        self.record().fault = Some(fault.to_string());
    }

    fn restart(&self) {
        let mut record = self.record();
        record.fault = None;
        record.restarts += 1;
    }
}

/// The error of a task, or of its supervisor, that panicked while it stopped.
pub(crate) fn panicked(task: &str, error: JoinError) -> anyhow::Error {
    anyhow!("task {task} panicked while it stopped: {}", panic_message(error))
}

async fn is_aborted(running: &mut JoinHandle<()>) -> bool {
    running.abort();
    timeout(ABORT_TIMEOUT, running).await.is_ok()
}

fn panic_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => text(panic.as_ref()),
        Err(error) => error.to_string(),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    /// Supervises a task with short timeouts, and stops it once it is ready. Returns the result and
    /// the number of restarts.
    async fn supervise<F: Future<Output = ()> + Send + 'static>(
        run: impl Fn(Heartbeat, watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) -> (anyhow::Result<()>, u64) {
        supervise_until(SHORT, run).await
    }

    /// Like [`supervise`], with another time to stop.
    async fn supervise_until<F: Future<Output = ()> + Send + 'static>(
        stop_timeout: Duration,
        run: impl Fn(Heartbeat, watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) -> (anyhow::Result<()>, u64) {
        let (stopper, stop) = watch::channel(false);
        let board = Board::default();
        let task = Task { min_backoff: SHORT, ..Task::new("test", stop_timeout, run) };
        let supervised = task.supervise(&board, stop);
        let stopping = async {
            while !board.health().is_ready() {
                sleep(SHORT).await;
            }
            stopper.send_replace(true);
            pending::<()>().await;
        };
        let ended = tokio::select! { biased; ended = supervised => ended, () = stopping => unreachable!() };
        (ended, board.health().tasks.iter().map(|task| task.restarts).sum())
    }

    #[tokio::test]
    async fn restarts_a_task_that_panics_and_then_gives_up() {
        let (ended, restarts) = supervise(|_, _| async { panic!("broken {}", 7) }).await;
        let said = ended.expect_err("it always panics").to_string();
        assert!(said.contains("task test failed repeatedly") && said.contains("broken 7"), "{said}");
        assert_eq!(restarts, 4);
    }

    #[tokio::test]
    async fn restarts_a_task_that_ends_or_stalls() {
        let runs = AtomicU64::new(0);
        let run = move |heartbeat: Heartbeat, mut stop: watch::Receiver<bool>| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => {}
                    1 => {
                        heartbeat.beat("waiting", Duration::from_secs(3600));
                        heartbeat.beat("waiting for ever", SHORT);
                        pending::<()>().await;
                    }
                    _ => {
                        heartbeat.rest("idle");
                        drop(stop.wait_for(|stop| *stop).await);
                    }
                }
            }
        };
        let (ended, restarts) = supervise(run).await;
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(restarts, 2);
    }

    #[tokio::test]
    async fn aborts_a_task_that_does_not_stop_in_its_time() {
        let run = |heartbeat: Heartbeat, _| async move {
            heartbeat.rest("deaf");
            pending::<()>().await;
        };
        let (ended, _) = supervise(run).await;
        let said = ended.expect_err("it does not listen").to_string();
        assert_eq!(said, "task test was aborted, because it did not end within 0 s: deaf");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn gives_up_on_a_task_that_blocks_its_thread() {
        let run = |heartbeat: Heartbeat, _| async move {
            heartbeat.beat("blocking", Duration::ZERO);
            std::thread::sleep(ABORT_TIMEOUT * 4);
        };
        let (ended, _) = supervise(run).await;
        let said = ended.expect_err("it blocks").to_string();
        assert_eq!(said, "task test hangs and can't be aborted (blocking): please report this");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn counts_no_fault_of_a_task_that_ends_as_the_stop_is_requested() {
        for _ in 0..500 {
            let run = |heartbeat: Heartbeat, stop: watch::Receiver<bool>| async move {
                heartbeat.rest("idle");
                heartbeat.ready();
                while !*stop.borrow() {
                    tokio::task::yield_now().await;
                }
            };
            let (ended, restarts) = supervise_until(Duration::from_secs(60), run).await;
            assert!(ended.is_ok(), "{ended:?}");
            assert_eq!(restarts, 0);
        }
    }
}
