//! An S3-compatible server in this process, with objects in a scratch folder.
//!
//! `s3s` implements protocol and signatures.

mod folder;
mod held_keys;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::folder::Folder;
use self::held_keys::HeldKeys;
use super::scratch::Scratch;
use crate::secrets;

/// The only valid access key.
pub const ACCESS_KEY: &str = "posthouse-tests";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
/// A key with expired credentials.
pub const EXPIRED_KEY: &str = "expired-tests";
/// An existing bucket that denies all access.
pub const PRIVATE_BUCKET: &str = "private";

/// A running server on a free loopback port. Dropping it ends it and removes its objects.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    held: Arc<HeldKeys>,
    // Some until dropped.
    runtime: Option<Runtime>,
    scratch: Scratch,
}

/// The readers that the server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Clients that sign with [`ACCESS_KEY`] and [`SECRET_KEY`].
    Signed,
    /// All clients, without a signature.
    Anyone,
}

impl S3Server {
    /// Starts a server without buckets.
    ///
    /// # Errors
    /// If there is no folder, port or thread for it.
    pub fn start(readers: Readers) -> anyhow::Result<Self> {
        let scratch = Scratch::create()?;
        let root = scratch.path().join("s3");
        fs::create_dir(&root)?;
        let requests = Arc::new(AtomicU64::new(0));
        let held = Arc::new(HeldKeys::default());
        let folder = Folder::new(root, Arc::clone(&requests), Arc::clone(&held));
        let mut service = S3ServiceBuilder::new(folder);
        if readers == Readers::Signed {
            service.set_auth(Keys);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("s3")
            .enable_all()
            .build()
            .context("no thread for the S3 server")?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.context("no port on 127.0.0.1 for the S3 server")?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener, service.build()));
        Ok(Self { address, requests, held, runtime: Some(runtime), scratch })
    }

    /// The address of its listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder with one folder per bucket. A key is a file's path in it.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("s3")
    }

    /// Stores an object, and its bucket if it is missing. Replaces an older object atomically.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.root().join(bucket).join(folder::file_of(key));
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let new = tempfile::NamedTempFile::new_in(self.scratch.path())?;
        fs::write(new.path(), bytes)?;
        new.persist(path)?;
        Ok(())
    }

    /// The environment variables of a program that reads from `address`, which is the server's own
    /// or a proxy's.
    pub fn environment(&self, address: SocketAddr) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{address}").as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", secrets::register(SECRET_KEY)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Makes reads of a key wait until [`S3Server::release`]. Reads of its first byte alone, which
    /// look whether it exists, are answered.
    pub fn hold(&self, key: &str) {
        self.held.hold(key);
    }

    /// Answers the reads of a key that wait.
    pub fn release(&self, key: &str) {
        self.held.release(key);
    }

    /// Reads of a key that have had to wait so far.
    pub fn held_reads(&self, key: &str) -> u64 {
        self.held.reads(key)
    }

    /// Requests answered so far, without refused ones.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    loop {
        // The error concerns one connection. Others follow.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            // A disconnected client is no error of the server.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The secrets of the access keys.
struct Keys;

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match access_key {
            ACCESS_KEY => Ok(SECRET_KEY.into()),
            EXPIRED_KEY => Err(s3_error!(ExpiredToken, "The provided token has expired.")),
            _ => Err(s3_error!(InvalidAccessKeyId, "The key does not exist in our records.")),
        }
    }
}
