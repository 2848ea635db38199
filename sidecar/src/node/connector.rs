//! Connections to a node, plain or encrypted, with limits on each answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::answer::{AnswerFault, AnswerGuard};
use crate::config::ClickHouse;
use crate::tls::{self, TlsError};

/// Slowest pace of an answer that the server has complete, in bytes a second.
const MIN_PACE: u64 = 256 << 10;

/// Every statement is sent as a POST.
const REQUEST: &[u8] = b"POST ";

/// Encryption of the connections to the nodes with an `https` URL.
#[derive(Debug, Clone)]
pub(super) struct NodeTls {
    client: Arc<ClientConfig>,
    /// The name in the certificates, if it is not the URL's host.
    server_name: Option<ServerName<'static>>,
}

impl NodeTls {
    /// # Errors
    /// Fails if a file of `[clickhouse.tls]` can't be used.
    pub(super) fn new(access: &ClickHouse) -> Result<Self, TlsError> {
        let client = Arc::new(tls::client_config(&access.tls)?);
        let name = access.tls.server_name.as_deref().map(|name| tls::server_name(&access.tls, name));
        Ok(Self { client, server_name: name.transpose()? })
    }
}

/// Limits of the answers of one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerLimits {
    pub(super) max_body: u64,
    /// Time from the first byte of an answer to the last, in addition to that of [`MIN_PACE`].
    /// `None` for results that the server sends while it computes them.
    pub(super) time: Option<Duration>,
}

/// Makes connections to nodes.
#[derive(Clone)]
pub(super) struct NodeConnector {
    plain: HttpConnector,
    encrypted: Option<HttpsConnector<HttpConnector>>,
    limits: AnswerLimits,
    /// Longest time for a handshake.
    timeout: Duration,
}

impl NodeConnector {
    pub(super) fn new(tls: Option<&NodeTls>, timeout: Duration, limits: AnswerLimits) -> Self {
        let mut plain = HttpConnector::new();
        plain.set_connect_timeout(Some(timeout));
        plain.set_keepalive(Some(timeout));
        plain.set_nodelay(true);
        plain.enforce_http(false);
        let encrypted = tls.map(|tls| {
            let builder =
                HttpsConnectorBuilder::new().with_tls_config(ClientConfig::clone(&tls.client)).https_only();
            let builder = match &tls.server_name {
                Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
                None => builder,
            };
            builder.enable_http1().wrap_connector(plain.clone())
        });
        Self { plain, encrypted, limits, timeout }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for NodeConnector {
    type Response = TokioIo<LimitedStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Neither connector waits before it connects.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (mut plain, encrypted, limits) = (self.plain.clone(), self.encrypted.clone(), self.limits);
        let timeout = self.timeout;
        Box::pin(async move {
            let connection = async {
                match encrypted {
                    Some(mut encrypted) => encrypted.call(url).await,
                    None => Ok(MaybeHttpsStream::Http(plain.call(url).await?)),
                }
            };
            let no_answer = |_| BoxError::from("the TLS handshake was not finished in time");
            // A connection and a handshake.
            let connection = tokio::time::timeout(timeout * 2, connection).await.map_err(no_answer)??;
            Ok(TokioIo::new(LimitedStream::new(TokioIo::new(connection), limits)))
        })
    }
}

type NodeStream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// A connection whose answers are limited.
pub(super) struct LimitedStream {
    stream: NodeStream,
    guard: AnswerGuard,
    time: Option<Duration>,
    /// The answer that has begun.
    answer: Option<BegunAnswer>,
}

struct BegunAnswer {
    since: Instant,
    received: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl LimitedStream {
    fn new(stream: NodeStream, limits: AnswerLimits) -> Self {
        Self { stream, guard: AnswerGuard::new(limits.max_body), time: limits.time, answer: None }
    }

    fn wrote(&mut self, sent: &[u8]) {
        if sent.starts_with(REQUEST) {
            self.guard.expect();
            self.answer = None;
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), AnswerFault> {
        let time = self.time;
        let answer = self.answer.get_or_insert_with(|| {
            let since = Instant::now();
            let deadline = time.map(|time| Box::pin(sleep_until(since + time)));
            BegunAnswer { since, received: 0, deadline }
        });
        answer.received += bytes.len() as u64;
        if let (Some(deadline), Some(time)) = (&mut answer.deadline, time) {
            let at_pace = Duration::from_secs_f64(answer.received as f64 / MIN_PACE as f64);
            deadline.as_mut().reset(answer.since + time + at_pace);
        }
        self.guard.check(bytes)
    }

    /// Fails after the deadline of the answer.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(BegunAnswer { since, received, deadline: Some(deadline) }) = &mut self.answer else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        let fault = AnswerFault::Slow { received: *received, seconds: since.elapsed().as_secs() };
        Poll::Ready(Err(io::Error::other(fault)))
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().get(before..) {
                Some(bytes) if !bytes.is_empty() => {
                    Poll::Ready(self.received(bytes).map_err(io::Error::other))
                }
                _ => Poll::Ready(Ok(())),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_deadline(cx),
        }
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wrote(bytes);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        if let Some(first) = pieces.first() {
            self.wrote(first);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for LimitedStream {
    fn connected(&self) -> Connected {
        self.stream.inner().connected()
    }
}
