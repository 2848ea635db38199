//! HTTP interface of a running posthouse: health and metrics.

mod access;
mod connections;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::access::{HttpAccess, authorize, encryption};
pub(crate) use self::access::{HttpTlsError, UnprotectedListenError};
use self::connections::serve;
use crate::config::{Daemon, HostPort};
use crate::metrics::MetricRegistry;
use crate::supervise::{Board, Task};

/// The text format of OpenMetrics.
const EXPOSITION: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Longest time for a name server to resolve the address.
const BIND_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("can't serve HTTP at {address}: free the address, or set another daemon.listen")]
pub(crate) struct HttpError {
    pub(crate) address: HostPort,
    #[source]
    pub(crate) source: io::Error,
}

/// The data of the HTTP endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) board: Board,
    pub(crate) metrics: Arc<MetricRegistry>,
}

/// A bound address, and the proofs that its clients need.
#[derive(Clone)]
pub(crate) struct HttpInterface {
    listener: Arc<TcpListener>,
    tls: Option<TlsAcceptor>,
    access: HttpAccess,
}

impl HttpInterface {
    /// Binds the address, so that a second start of posthouse fails at once.
    ///
    /// # Errors
    /// [`HttpError`] if the address can't be bound, or does not resolve in time. Also fails if
    /// other machines reach it and clients need no proof, and if `[daemon.tls]` can't be used.
    pub(crate) async fn bind(address: &HostPort, daemon: &Daemon) -> anyhow::Result<Self> {
        let tls = encryption(address, daemon)?.map(TlsAcceptor::from);
        let bound = timeout(BIND_TIMEOUT, TcpListener::bind((address.host.as_str(), address.port))).await;
        let bound = bound.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let listener = bound.map_err(|source| HttpError { address: address.clone(), source })?;
        Ok(Self { listener: Arc::new(listener), tls, access: HttpAccess::new(daemon) })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Returns the task that serves all endpoints.
    pub(crate) fn task(self, reported: Reported, stop_timeout: Duration) -> Task {
        let router = router(reported, self.access);
        Task::new("http", stop_timeout, move |heartbeat, stop| {
            serve(self.listener.clone(), self.tls.clone(), router.clone(), heartbeat, stop)
        })
    }
}

fn router(reported: Reported, access: HttpAccess) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(exposition))
        .layer(middleware::from_fn(refuse_body))
        .layer(middleware::from_fn_with_state(access, authorize))
        .with_state(reported)
}

async fn live(State(reported): State<Reported>) -> impl IntoResponse {
    let health = reported.board.health();
    (status(health.is_live()), health.live_text())
}

async fn ready(State(reported): State<Reported>) -> impl IntoResponse {
    let health = reported.board.health();
    (status(health.is_ready()), health.ready_text())
}

async fn health(State(reported): State<Reported>) -> impl IntoResponse {
    let health = reported.board.health();
    (status(health.is_live()), health.text())
}

fn status(is_good: bool) -> StatusCode {
    if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn exposition(State(reported): State<Reported>) -> Response {
    match reported.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, EXPOSITION)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Refuses request bodies, because no endpoint needs one.
async fn refuse_body(request: Request, next: Next) -> Response {
    use axum::body::HttpBody as _;

    if request.body().is_end_stream() {
        next.run(request).await
    } else {
        (StatusCode::PAYLOAD_TOO_LARGE, "no endpoint accepts a request body\n").into_response()
    }
}
