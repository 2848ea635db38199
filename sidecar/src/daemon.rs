//! Tasks of `posthouse run`, started and ended in order.
//!
//! All long-running tasks are spawned here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::cluster::Cluster;
use crate::config::Reconcile;
use crate::http::{self, HttpError, Metric, Metrics, Reported};
use crate::persons::run_leader;
use crate::span;
use crate::supervise::{Board, StopError, Task, TaskError};
use crate::topics::reconcile;

/// Time for an apply of topics to finish at the end. The next apply does the rest.
const TOPICS_STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for rows in flight from PostgreSQL. They are replayed after the next start.
const PERSONS_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for HTTP responses, after all other tasks.
const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Reason why a running posthouse failed.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address of the HTTP interface is taken.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A task could not be kept running, or ended with an error.
    #[error(transparent)]
    Task(#[from] TaskError),
}

type Supervised = JoinSet<Result<(), TaskError>>;

/// Runs until `stop` ends or a task can't be kept running. Then it ends all tasks: first the tasks
/// that change data, last the HTTP interface.
pub async fn run(cluster: Arc<Cluster>, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
    let config = &cluster.config;
    let listener = Arc::new(http::bind(&config.daemon.listen).await?);
    tracing::info!(
        url = %format_args!("http://{}", config.daemon.listen),
        "serving /live, /ready, /health and /metrics"
    );
    let (board, metrics) = (Board::default(), Arc::new(Metrics::default()));
    let (stopper, stopped) = watch::channel(false);
    let (http_stopper, http_stopped) = watch::channel(false);

    let mut workers = Supervised::new();
    let tasks = [topics_task(&cluster, &metrics), persons_task(&cluster, &metrics, &board)];
    for task in tasks.into_iter().flatten() {
        spawn(&mut workers, task, &board, &metrics, stopped.clone());
    }
    let mut interface = Supervised::new();
    let router = http::router(Reported { board: board.clone(), metrics: metrics.clone() });
    let http_task = Task::new("http", HTTP_STOP_TIMEOUT, move |heartbeat, stop| {
        http::serve(listener.clone(), router.clone(), heartbeat, stop)
    });
    spawn(&mut interface, http_task, &board, &metrics, http_stopped);

    let ended = tokio::select! {
        () = stop => Ok(()),
        error = first_failure(&mut workers) => Err(error),
        error = first_failure(&mut interface) => Err(error),
    };
    tracing::info!("stopping");
    stopper.send_replace(true);
    let workers_ended = join(workers).await;
    http_stopper.send_replace(true);
    let http_ended = join(interface).await;
    Ok(ended.and(workers_ended).and(http_ended)?)
}

fn topics_task(cluster: &Arc<Cluster>, metrics: &Arc<Metrics>) -> Option<Task> {
    let (cluster, metrics) = (cluster.clone(), metrics.clone());
    match cluster.config.topics.reconcile {
        Reconcile::Off => None,
        Reconcile::Check | Reconcile::Apply => {
            Some(Task::new("topics", TOPICS_STOP_TIMEOUT, move |heartbeat, stop| {
                let span = span::topics(&cluster.config.cluster);
                reconcile(cluster.clone(), metrics.clone(), heartbeat, stop).instrument(span)
            }))
        }
    }
}

fn persons_task(cluster: &Arc<Cluster>, metrics: &Arc<Metrics>, board: &Board) -> Option<Task> {
    let span = span::persons(&cluster.config.persons.as_ref()?.postgres.as_ref()?.slot);
    let (cluster, metrics, audit) = (cluster.clone(), metrics.clone(), board.heartbeat("audit"));
    audit.rest("not the leader");
    Some(Task::new("persons", PERSONS_STOP_TIMEOUT, move |heartbeat, stop| {
        run_leader(cluster.clone(), metrics.clone(), heartbeat, audit.clone(), stop).instrument(span.clone())
    }))
}

fn spawn(
    tasks: &mut Supervised,
    task: Task,
    board: &Board,
    metrics: &Arc<Metrics>,
    stop: watch::Receiver<bool>,
) {
    let (board, metrics) = (board.clone(), metrics.clone());
    tasks.spawn(async move {
        let restarted = |name| metrics.add_for(Metric::TaskRestarts, "task", name, 1);
        task.supervise(&board, stop, restarted).await
    });
}

/// Waits for a task that can't be kept running.
async fn first_failure(tasks: &mut Supervised) -> TaskError {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return error,
            Some(Err(panic)) => return StopError::of_supervisor(panic).into(),
            None => std::future::pending().await,
        }
    }
}

/// Waits for all tasks, each with its own time limit. Returns the first error.
async fn join(mut tasks: Supervised) -> Result<(), TaskError> {
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        let task = task.unwrap_or_else(|panic| Err(StopError::of_supervisor(panic).into()));
        if let Err(error) = &task {
            tracing::error!(error = %error, "task did not stop cleanly");
        }
        ended = ended.and(task);
    }
    ended
}
