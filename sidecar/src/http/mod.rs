//! HTTP interface of a running posthouse: health and metrics.

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

pub(crate) use self::connections::serve;
use crate::config::HostPort;
use crate::metrics::MetricRegistry;
use crate::supervise::Board;

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

/// Binds the address, so that a second start of posthouse fails at once.
///
/// # Errors
/// [`HttpError`] if the address can't be bound, or does not resolve in time.
pub(crate) async fn bind(address: &HostPort) -> Result<TcpListener, HttpError> {
    let bound = timeout(BIND_TIMEOUT, TcpListener::bind((address.host.as_str(), address.port))).await;
    let bound = bound.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    bound.map_err(|source| HttpError { address: address.clone(), source })
}

/// Returns the router of all endpoints.
pub(crate) fn router(reported: Reported) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(exposition))
        .layer(middleware::from_fn(refuse_body))
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
