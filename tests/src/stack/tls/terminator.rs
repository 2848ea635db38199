//! A TLS terminator: it decrypts connections and carries them to a plain server.
//!
//! The engine of the stack listens on plain HTTP only. In production, the node itself has an
//! `https_port`, or a proxy ends TLS before it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::{CertificateAuthority, PemPair};

/// Listens on a free loopback port. Dropping it ends all connections.
pub struct TlsTerminator {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    // Some until dropped.
    runtime: Option<Runtime>,
}

impl TlsTerminator {
    /// Starts a terminator before `target` that shows the certificate of `pair`. With `clients`, it
    /// demands certificates of that authority.
    ///
    /// # Errors
    /// Fails if there is no port or thread for it.
    pub fn start(
        target: SocketAddr,
        pair: &PemPair,
        clients: Option<&CertificateAuthority>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("terminator")
            .enable_all()
            .build()
            .context("no thread for a terminator")?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.context("no port on 127.0.0.1 for a terminator")?;
        let address = listener.local_addr()?;
        let config = Arc::new(Mutex::new(Arc::new(server_config(pair, clients)?)));
        runtime.spawn(accept(listener, target, Arc::clone(&config)));
        Ok(Self { address, config, runtime: Some(runtime) })
    }

    /// The URL of its listener.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Shows another certificate to new connections, and makes other demands.
    ///
    /// # Errors
    /// Fails if the certificate can't be used.
    pub fn show(&self, pair: &PemPair, clients: Option<&CertificateAuthority>) -> anyhow::Result<()> {
        let config = Arc::new(server_config(pair, clients)?);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn server_config(pair: &PemPair, clients: Option<&CertificateAuthority>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build()?)
        }
    };
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes())?;
    Ok(config.with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?)?)
}

async fn accept(listener: TcpListener, target: SocketAddr, config: Arc<Mutex<Arc<ServerConfig>>>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let config = config.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(carry(client, target, config));
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Carries one connection. An error on either side ends both.
async fn carry(client: TcpStream, target: SocketAddr, config: Arc<ServerConfig>) {
    let _ = client.set_nodelay(true);
    let Ok(mut client) = TlsAcceptor::from(config).accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = server.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
