//! Tasks of `posthouse run`, started and ended in order.
//!
//! All long-running tasks are spawned here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::cluster::Cluster;
use crate::config::{IndexMode, Reconcile};
use crate::http::{HttpInterface, Reported};
use crate::metrics::{
    MetricRegistry, PersonIndexMetrics, PersonsMetrics, ProcessCollector, TaskCollector, TopicsMetrics,
};
use crate::node::Node;
use crate::person_index;
use crate::persons::run_leader;
use crate::span;
use crate::supervise::{Board, Task, panicked};
use crate::topics::reconcile;

/// Time for an apply of topics to finish at the end. The next apply does the rest.
const TOPICS_STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for rows in flight from PostgreSQL. They are replayed after the next start.
const PERSONS_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a publication in flight. The next start repeats it.
const PERSON_INDEX_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for HTTP responses, after all other tasks.
const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(2);

type Supervised = JoinSet<anyhow::Result<()>>;

/// Runs until `stop` ends or a task can't be kept running. Then it ends all tasks: first the tasks
/// that change data, last the HTTP interface.
pub(crate) async fn run(cluster: Arc<Cluster>, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let config = &cluster.config;
    let http = HttpInterface::bind(&config.daemon.listen, &config.daemon).await?;
    tracing::info!(
        url = %format_args!("{}://{}", http.scheme(), config.daemon.listen),
        "serving /live, /ready, /health and /metrics"
    );
    let (board, mut metrics) = (Board::default(), MetricRegistry::default());
    let (stopper, stopped) = watch::channel(false);
    let (http_stopper, http_stopped) = watch::channel(false);

    let mut workers = Supervised::new();
    let tasks = [topics_task(&cluster, &mut metrics), persons_task(&cluster, &mut metrics, &board)];
    let indexes = person_index_tasks(&cluster, &mut metrics);
    for task in tasks.into_iter().flatten().chain(indexes) {
        spawn(&mut workers, task, &board, stopped.clone());
    }
    TaskCollector::register(&mut metrics, &board);
    metrics.build_info();
    ProcessCollector::register(&mut metrics);
    let mut interface = Supervised::new();
    let reported = Reported { board: board.clone(), metrics: Arc::new(metrics) };
    let http_task = http.task(reported, HTTP_STOP_TIMEOUT);
    spawn(&mut interface, http_task, &board, http_stopped);

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
    ended.and(workers_ended).and(http_ended)
}

fn topics_task(cluster: &Arc<Cluster>, metrics: &mut MetricRegistry) -> Option<Task> {
    let cluster = cluster.clone();
    match cluster.config.topics.reconcile {
        Reconcile::Off => None,
        Reconcile::Check | Reconcile::Apply => {
            let metrics = TopicsMetrics::register(metrics);
            Some(Task::new("topics", TOPICS_STOP_TIMEOUT, move |heartbeat, stop| {
                let span = span::topics(&cluster.config.cluster);
                reconcile(cluster.clone(), metrics.clone(), heartbeat, stop).instrument(span)
            }))
        }
    }
}

fn persons_task(cluster: &Arc<Cluster>, metrics: &mut MetricRegistry, board: &Board) -> Option<Task> {
    let span = span::persons(&cluster.config.persons.as_ref()?.postgres.as_ref()?.slot);
    let (cluster, audit) = (cluster.clone(), board.heartbeat("audit"));
    let metrics = PersonsMetrics::register(metrics);
    audit.rest("not the leader");
    Some(Task::new("persons", PERSONS_STOP_TIMEOUT, move |heartbeat, stop| {
        run_leader(cluster.clone(), metrics.clone(), heartbeat, audit.clone(), stop).instrument(span.clone())
    }))
}

/// A task for the index of each node whose disk is on this machine.
fn person_index_tasks(cluster: &Arc<Cluster>, metrics: &mut MetricRegistry) -> Vec<Task> {
    let is_kept = cluster.config.persons.as_ref().is_some_and(|persons| persons.index == IndexMode::Keep);
    let Some(nodes) = person_index::local_nodes(cluster).ok().filter(|_| is_kept) else { return Vec::new() };
    let metrics = PersonIndexMetrics::register(metrics);
    let task = |node: &Node| {
        let (cluster, node, metrics) = (cluster.clone(), node.clone(), metrics.clone());
        let name = format!("person index of {}", node.name);
        Task::new(name, PERSON_INDEX_STOP_TIMEOUT, move |heartbeat, stop| {
            let span = span::person_index(&node.name);
            person_index::keep(cluster.clone(), node.clone(), metrics.clone(), heartbeat, stop)
                .instrument(span)
        })
    };
    nodes.into_iter().map(task).collect()
}

fn spawn(tasks: &mut Supervised, task: Task, board: &Board, stop: watch::Receiver<bool>) {
    let board = board.clone();
    tasks.spawn(async move { task.supervise(&board, stop).await });
}

/// Waits for a task that can't be kept running.
async fn first_failure(tasks: &mut Supervised) -> anyhow::Error {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return error,
            Some(Err(panic)) => return panicked("supervisor", panic),
            None => std::future::pending().await,
        }
    }
}

/// Waits for all tasks, each with its own time limit. Returns the first error.
async fn join(mut tasks: Supervised) -> anyhow::Result<()> {
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        let task = task.unwrap_or_else(|panic| Err(panicked("supervisor", panic)));
        if let Err(error) = &task {
            tracing::error!(error = %error, "task did not stop cleanly");
        }
        ended = ended.and(task);
    }
    ended
}
