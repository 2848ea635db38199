//! Connections of the HTTP interface: bounded in number, size and time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::KnownClient;
use crate::supervise::{Heartbeat, stopped};

/// Maximum number of open connections. A further one replaces the oldest. The oldest is one that
/// sends no data, because a request takes milliseconds.
const MAX_CONNECTIONS: usize = 64;
/// Longest time to receive the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest life of a connection, with its handshake, its one request and the response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Pause after the system refuses a connection, for example because of too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Interval of heartbeats without connections.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
const BEAT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for open requests to finish when the interface stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers requests until `stop` is set, and then finishes the requests in flight.
pub(crate) async fn serve(
    listener: Arc<TcpListener>,
    tls: Option<TlsAcceptor>,
    router: Router,
    heartbeat: Heartbeat,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = VecDeque::new();
    heartbeat.ready();
    loop {
        heartbeat.beat("answering HTTP requests", BEAT_TIMEOUT);
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sleep(BEAT_INTERVAL) => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                make_room(&mut open);
                open.push_back(tokio::spawn(within_limit(stream, tls.clone(), router.clone())));
            }
            Err(error) => {
                tracing::debug!(error = %error, "connection can't be accepted");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    let finished = async {
        for connection in &mut open {
            // A failed connection concerns only its client.
            let _ = connection.await;
        }
    };
    let _ = timeout(STOP_TIMEOUT, finished).await;
    open.iter().for_each(JoinHandle::abort);
}

fn make_room(open: &mut VecDeque<JoinHandle<()>>) {
    open.retain(|connection| !connection.is_finished());
    if open.len() >= MAX_CONNECTIONS
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

async fn within_limit(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    let answered = async {
        match tls {
            None => answer(stream, router).await,
            Some(tls) => answer_encrypted(stream, &tls, router).await,
        }
    };
    if timeout(CONNECTION_TIMEOUT, answered).await.is_err() {
        tracing::debug!(limit = ?CONNECTION_TIMEOUT, "request timed out");
    }
}

async fn answer_encrypted(stream: TcpStream, tls: &TlsAcceptor, router: Router) {
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let is_known = stream.get_ref().1.peer_certificates().is_some();
            let router = if is_known { router.layer(Extension(KnownClient)) } else { router };
            answer(stream, router).await;
        }
        Ok(Err(error)) => tracing::debug!(error = %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(limit = ?HANDSHAKE_TIMEOUT, "TLS handshake timed out"),
    }
}

/// Reads one request, answers it, and closes the connection.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false);
    let answered = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = answered.await {
        tracing::debug!(error = %error, "request failed");
    }
}
