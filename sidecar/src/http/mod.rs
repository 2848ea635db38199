//! What a running posthouse answers over HTTP: whether it lives, and its metrics.

mod metrics;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

pub use self::metrics::{Labels, Metric, Metrics};
use crate::config::HostPort;

/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The HTTP interface could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
#[error("can't answer HTTP at {address}: free the address, or give another one as daemon.listen")]
pub struct HttpError {
    /// Where.
    pub address: HostPort,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Takes the address, so that whoever starts posthouse twice hears of it at once.
///
/// # Errors
/// [`HttpError`].
pub async fn bind(address: &HostPort) -> Result<TcpListener, HttpError> {
    let bound = TcpListener::bind((address.host.as_str(), address.port)).await;
    bound.map_err(|source| HttpError { address: address.clone(), source })
}

/// Answers until `stop` ends, and then to what is under way.
///
/// # Errors
/// What the system says; none is known once the address is bound.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/health", get(|| async { "alive\n" }))
        .route("/metrics", get(exposition))
        .with_state(metrics);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, EXPOSITION)], metrics.to_string())
}
