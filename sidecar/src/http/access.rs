//! Access to the HTTP interface: token, client certificate, and open endpoints.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};

use crate::config::{Daemon, HostPort, UNPROTECTED};
use crate::secret::Credential;
use crate::tls::{self, ClientCertificates, TlsError};

/// Interval of reading the token again, after requests with another one.
const REREAD_INTERVAL: Duration = Duration::from_secs(10);

/// An address that other machines reach, without a proof of clients.
#[derive(Debug, thiserror::Error)]
#[error("listen = {0}: {UNPROTECTED}")]
pub(crate) struct UnprotectedListenError(HostPort);

/// `[daemon.tls]` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("daemon.tls can't be used")]
pub(crate) struct HttpTlsError(#[from] TlsError);

/// The proofs that requests need.
#[derive(Debug, Clone)]
pub(crate) struct HttpAccess {
    token: Option<Arc<Token>>,
    /// Whether a proof is needed at all.
    is_protected: bool,
    metrics_open: bool,
    health_open: bool,
}

#[derive(Debug)]
struct Token {
    credential: Credential,
    reread: Mutex<Option<Instant>>,
}

/// Mark of a connection whose client has shown a valid certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownClient;

impl HttpAccess {
    pub(super) fn new(daemon: &Daemon) -> Self {
        let token = |credential: &Credential| {
            Arc::new(Token { credential: credential.clone(), reread: Mutex::new(None) })
        };
        Self {
            token: daemon.token.as_ref().map(token),
            is_protected: daemon.is_protected(),
            metrics_open: daemon.metrics_open,
            health_open: daemon.health_open,
        }
    }

    fn is_open(&self, path: &str) -> bool {
        match path {
            "/live" | "/ready" => self.health_open,
            "/metrics" => self.metrics_open,
            _ => false,
        }
    }
}

/// Returns the encryption of the interface at `listen`, if it has one.
///
/// # Errors
/// Fails if other machines reach `listen` and clients need no proof, or if a file can't be used.
pub(super) fn encryption(listen: &HostPort, daemon: &Daemon) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    if !daemon.may_listen_at(listen) {
        return Err(UnprotectedListenError(listen.clone()).into());
    }
    let is_optional = daemon.token.is_some() || daemon.metrics_open || daemon.health_open;
    let clients = if is_optional { ClientCertificates::Accepted } else { ClientCertificates::Required };
    let config = daemon.tls.as_ref().map(|tls| tls::server_config(tls, clients)).transpose();
    Ok(config.map_err(HttpTlsError)?.map(Arc::new))
}

/// Answers 401 to a request without a proof.
pub(super) async fn authorize(
    State(access): State<HttpAccess>,
    client: Option<Extension<KnownClient>>,
    request: Request,
    next: Next,
) -> Response {
    let is_known = !access.is_protected || client.is_some() || access.is_open(request.uri().path());
    if is_known || has_token(&access, request.headers()).await {
        return next.run(request).await;
    }
    let challenge = [(WWW_AUTHENTICATE, "Bearer")];
    let hint = "send the header Authorization: Bearer TOKEN with the token of daemon.token_file, or a client \
        certificate of daemon.tls.client_ca_file\n";
    (StatusCode::UNAUTHORIZED, challenge, hint).into_response()
}

async fn has_token(access: &HttpAccess, headers: &HeaderMap) -> bool {
    let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let Some(sent) = header.and_then(bearer) else { return false };
    let Some(token) = access.token.clone() else { return false };
    if token.is(sent) {
        return true;
    }
    // A command may take seconds.
    let is_new = tokio::task::spawn_blocking({
        let token = Arc::clone(&token);
        move || token.is_reread()
    });
    is_new.await.unwrap_or(false) && token.is(sent)
}

/// The token of `Bearer TOKEN`; the scheme has any case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

impl Token {
    /// Compares digests, so that the time reveals neither length nor content.
    fn is(&self, sent: &[u8]) -> bool {
        let secret = self.credential.secret();
        let [wanted, sent] = [secret.reveal().as_bytes(), sent].map(Sha256::digest);
        openssl::memcmp::eq(&wanted, &sent)
    }

    /// Whether the token is a new one, read again at most once in [`REREAD_INTERVAL`].
    fn is_reread(&self) -> bool {
        let mut last = self.reread.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < REREAD_INTERVAL) {
            return false;
        }
        let is_new = self.credential.reread(&self.credential.secret());
        *last = Some(Instant::now());
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware;
    use axum::routing::get;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::config::Config;

    fn daemon(section: &str, base: &Path) -> Daemon {
        let text = format!(
            "kafka.brokers = [\"127.0.0.1:1\"]\n[[shards]]\n[[shards.replicas]]\nname = \"n\"\n\
             url = \"http://127.0.0.1:1\"\naddress = \"127.0.0.1:1\"\n[daemon]\n{section}"
        );
        Config::parse(&text, base).expect("a config").daemon
    }

    async fn status(daemon: &Daemon, path: &str, token: Option<&str>, client: Option<KnownClient>) -> u16 {
        use hyper::service::Service as _;

        let ok = || async { "ok" };
        let mut router =
            Router::new().route("/live", get(ok)).route("/metrics", get(ok)).route("/health", get(ok));
        router = router.layer(middleware::from_fn_with_state(HttpAccess::new(daemon), authorize));
        if let Some(client) = client {
            router = router.layer(Extension(client));
        }
        let mut request = Request::builder().uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Body::empty()).expect("a request");
        TowerToHyperService::new(router).call(request).await.expect("an answer").status().as_u16()
    }

    #[tokio::test]
    async fn demands_a_token_or_a_certificate_except_where_a_key_opens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef").expect("a file");
        let closed = daemon("token_file = \"token\"", folder.path());
        let open = daemon("token_file = \"token\"\nmetrics_open = true\nhealth_open = true", folder.path());
        for (path, is_open) in [("/live", 200), ("/metrics", 200), ("/health", 401)] {
            assert_eq!(status(&open, path, None, None).await, is_open);
            for wrong in [None, Some("Bearer 0123456789abcdeF"), Some("Bearer "), Some("0123456789abcdef")] {
                assert_eq!(status(&closed, path, wrong, None).await, 401, "{path} {wrong:?}");
            }
            assert_eq!(status(&closed, path, Some("bearer 0123456789abcdef"), None).await, 200);
            assert_eq!(status(&closed, path, None, Some(KnownClient)).await, 200);
        }
        assert_eq!(status(&daemon("", folder.path()), "/health", None, None).await, 200);
    }

    #[tokio::test]
    async fn accepts_a_token_that_was_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef").expect("a file");
        let daemon = daemon("token_file = \"token\"", folder.path());
        std::fs::write(&path, "fedcba9876543210").expect("a file");
        assert_eq!(status(&daemon, "/health", Some("Bearer fedcba9876543210"), None).await, 200);
        assert_eq!(status(&daemon, "/health", Some("Bearer 0123456789abcdef"), None).await, 401);
    }
}
