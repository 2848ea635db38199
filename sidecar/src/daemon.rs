//! `posthouse run`: the only place that spawns tasks for good, and that joins them in order when it is to end.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinError;

use crate::config::{Config, Reconcile};
use crate::http::{self, HttpError, Metrics};
use crate::persons::lead;
use crate::topics::reconcile;

/// Why a running posthouse ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Its address is taken.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Its HTTP interface ended.
    #[error("the HTTP interface ended")]
    Served(#[source] io::Error),
    /// A task ended by a fault of posthouse.
    #[error("task {task} ended: please report this")]
    Task {
        /// Which.
        task: &'static str,
        /// How.
        #[source]
        source: JoinError,
    },
}

/// Runs until `stop` ends, then finishes what is under way: first what changes things, last what tells of it.
///
/// # Errors
/// See [`DaemonError`].
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
    let config = Arc::new(config);
    let (metrics, listener) = (Arc::new(Metrics::default()), http::bind(&config.daemon.listen).await?);
    tracing::info!("answering at http://{}: /health, /metrics", config.daemon.listen);
    let (stopper, stopped) = watch::channel(false);
    let (server_stopper, mut server_stopped) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, metrics.clone(), async move {
        // It ends too if nobody can tell it any more.
        let _ = server_stopped.wait_for(|stop| *stop).await;
    }));
    let topics = match config.daemon.topics {
        Reconcile::Off => None,
        Reconcile::Check | Reconcile::Apply => {
            Some(tokio::spawn(reconcile(config.clone(), metrics.clone(), stopped.clone())))
        }
    };
    let persons = tokio::spawn(lead(config.clone(), metrics.clone(), stopped));
    stop.await;
    tracing::info!("ending");
    // Nobody listens any more: then there is nothing to end.
    let _ = stopper.send(true);
    if let Some(topics) = topics {
        topics.await.map_err(|source| DaemonError::Task { task: "topics", source })?;
    }
    persons.await.map_err(|source| DaemonError::Task { task: "persons", source })?;
    let _ = server_stopper.send(true);
    let served = server.await.map_err(|source| DaemonError::Task { task: "http", source })?;
    served.map_err(DaemonError::Served)
}
