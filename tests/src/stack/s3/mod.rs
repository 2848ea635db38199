//! An S3-compatible server in this process: protocol and signatures by `s3s`, objects from a scratch folder.

mod folder;

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
use super::scratch::Scratch;

/// The one key that is let in.
pub const ACCESS_KEY: &str = "posthouse-tests";
/// Its secret.
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
/// A key whose credentials have expired.
pub const EXPIRED_KEY: &str = "expired-tests";
/// A bucket that exists and that nobody may read.
pub const PRIVATE_BUCKET: &str = "private";

/// A running server on a free loopback port. Dropping it ends it and removes its objects.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    // Some until dropped.
    runtime: Option<Runtime>,
    scratch: Scratch,
}

/// Who may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Those who sign with [`ACCESS_KEY`] and [`SECRET_KEY`].
    Signed,
    /// Everybody, without a signature.
    Anyone,
}

impl S3Server {
    /// Starts a server without buckets.
    ///
    /// # Errors
    /// When the system gives no folder, port or thread.
    pub fn start(readers: Readers) -> anyhow::Result<Self> {
        let scratch = Scratch::create()?;
        let root = scratch.path().join("s3");
        fs::create_dir(&root)?;
        let requests = Arc::new(AtomicU64::new(0));
        let mut service = S3ServiceBuilder::new(Folder::new(root, Arc::clone(&requests)));
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
        Ok(Self { address, requests, runtime: Some(runtime), scratch })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder with a folder for each bucket, in which a key is a file's path.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("s3")
    }

    /// Stores an object, and its bucket if need be; an older one is replaced at once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.root().join(bucket).join(key);
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let new = tempfile::NamedTempFile::new_in(self.scratch.path())?;
        fs::write(new.path(), bytes)?;
        new.persist(path)?;
        Ok(())
    }

    /// The variables with which a program of the production way reads from `address`: the server's own, or that of a
    /// proxy to it.
    pub fn environment(&self, address: SocketAddr) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{address}").as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Requests answered so far, refused ones aside.
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
        // An error is that of one connection: others come.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is none of the server's errors.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Who has which secret.
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
