//! Connections of the HTTP interface: bounded in number, size and time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::supervise::{Heartbeat, stopped};

/// Connections at once. A further one takes the place of the oldest, which is one that sends nothing: a request takes
/// milliseconds.
const MAX_CONNECTIONS: usize = 64;
/// How long the head of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take, with its one request and the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// After a refusal of the system, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often the loop beats without connections.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
const BEAT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests may go on when the interface is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers requests until `stop` says so, and then finishes those that it has begun.
pub async fn serve(
    listener: Arc<TcpListener>,
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
                open.push_back(tokio::spawn(answer(stream, router.clone())));
            }
            Err(error) => {
                tracing::debug!("http: {error}");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    let finished = async {
        for connection in &mut open {
            // That a connection failed is its client's business.
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

/// Reads one request, answers it, and closes the connection.
async fn answer(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false);
    let answered = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIMEOUT, answered).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("http: {error}"),
        Err(_) => tracing::debug!("http: a request took longer than {} s", CONNECTION_TIMEOUT.as_secs()),
    }
}
