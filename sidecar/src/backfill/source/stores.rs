//! Clients of S3, GCS and web servers, one per bucket.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use url::Url;

use super::address::{BucketStore, StoreKind, shown_url};
use super::bounded_answers::BoundedAnswers;
use super::error::SourceError;
use super::explain::unusable;
use super::list_keys::EscapedKeys;
use super::variables::Variables;

/// Limit for a connect: other continents answer within half a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Limit for the next bytes of an answer. The whole answer has no limit, because a slow connection
/// is no error while bytes arrive.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Retries of one request: few, so that a listing fails within seconds if no server listens. Reads
/// have their own retries.
const RETRIES: usize = 3;
/// No retry of one request after this time.
const RETRY_LIMIT: Duration = Duration::from_secs(60);
/// Between the first two tries, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Connected stores. All objects of a bucket share one client.
#[derive(Default)]
pub(super) struct Stores {
    variables: Arc<Variables>,
    buckets: Mutex<HashMap<(BucketStore, String), Remote>>,
    // By scheme, without clients for addresses with a user.
    web: Mutex<HashMap<String, HttpClient>>,
}

/// A connected store, with the data that explains its errors.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) client: Arc<dyn ObjectStore>,
    pub(super) kind: StoreKind,
    /// The address of the requests, without secrets.
    pub(super) endpoint: String,
    pub(super) variables: Arc<Variables>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client, because it holds keys.
        f.debug_struct("Remote")
            .field("kind", &self.kind)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Stores {
    pub(super) fn new(variables: Variables) -> Self {
        Self { variables: Arc::new(variables), ..Self::default() }
    }

    /// Returns the store of a bucket, without connecting.
    pub(super) fn bucket(&self, store: BucketStore, name: &str) -> Result<Remote, SourceError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (store, name.to_owned());
        if let Some(remote) = buckets.get(&key) {
            return Ok(remote.clone());
        }
        let remote = match store {
            BucketStore::S3 => self.s3(name),
            BucketStore::Gcs => self.gcs(name),
        }?;
        buckets.insert(key, remote.clone());
        Ok(remote)
    }

    fn s3(&self, bucket: &str) -> Result<Remote, SourceError> {
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        let location = format!("s3://{bucket}/");
        let endpoint = self.endpoint(&location, &names, "AWS_ALLOW_HTTP")?;
        let build = |options: ClientOptions| {
            let builder = AmazonS3Builder::new().with_client_options(options).with_retry(retries());
            let builder = builder.with_http_connector(EscapedKeys::default());
            let known = |(name, value): (String, &str)| {
                Some((name.parse::<AmazonS3ConfigKey>().ok()?, value.to_owned()))
            };
            let settings = self.variables.with_prefix("AWS_").filter_map(known);
            let builder = settings.fold(builder, |builder, (key, value)| builder.with_config(key, value));
            builder.with_bucket_name(bucket).build()
        };
        let shown = endpoint.as_ref().map_or_else(|| "Amazon S3".to_owned(), shown_url);
        self.remote(StoreKind::Aws, &location, shown, endpoint.as_ref(), build)
    }

    fn gcs(&self, bucket: &str) -> Result<Remote, SourceError> {
        let location = format!("gs://{bucket}/");
        let endpoint = self.endpoint(&location, &["GOOGLE_BASE_URL"], "GOOGLE_ALLOW_HTTP")?;
        let build = |options: ClientOptions| {
            let builder = GoogleCloudStorageBuilder::new().with_client_options(options).with_retry(retries());
            let builder = builder.with_http_connector(EscapedKeys::default());
            let builder = match self.variables.first(&["SERVICE_ACCOUNT"]) {
                Some((_, path)) => builder.with_service_account_path(path),
                None => builder,
            };
            let known = |(name, value): (String, &str)| {
                Some((name.parse::<GoogleConfigKey>().ok()?, value.to_owned()))
            };
            let settings = self.variables.with_prefix("GOOGLE_").filter_map(known);
            let builder = settings.fold(builder, |builder, (key, value)| builder.with_config(key, value));
            builder.with_bucket_name(bucket).build()
        };
        let shown = endpoint.as_ref().map_or_else(|| "Google Cloud Storage".to_owned(), shown_url);
        self.remote(StoreKind::Google, &location, shown, endpoint.as_ref(), build)
    }

    /// Returns a store that holds the single file of an address. This keeps the query as it is,
    /// because it may be signed.
    pub(super) fn web(&self, url: &Url) -> Result<Remote, SourceError> {
        let location = shown_url(url);
        let mut bare = url.clone();
        let _ = (bare.set_username(""), bare.set_password(None));
        bare.set_fragment(None);
        let build = |options: ClientOptions| {
            // The user asked for http:// explicitly.
            let options = options.with_allow_http(url.scheme() == "http");
            let client = match basic_authorization(url) {
                Some(header) => {
                    let options =
                        options.with_default_headers(HeaderMap::from_iter([(AUTHORIZATION, header)]));
                    BoundedAnswers::default().connect(&options)?
                }
                None => self.web_client(url.scheme(), &options)?,
            };
            let builder = HttpBuilder::new().with_url(bare.as_str()).with_retry(retries());
            builder.with_http_connector(Connected(client)).build()
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        self.remote(StoreKind::Web, &location, host, Some(url), build)
    }

    /// Returns the shared client of a scheme, because each new client loads the machine's
    /// certificates.
    fn web_client(&self, scheme: &str, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut clients = self.web.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(scheme) {
            return Ok(client.clone());
        }
        let client = BoundedAnswers::default().connect(options)?;
        clients.insert(scheme.to_owned(), client.clone());
        Ok(client)
    }

    fn endpoint(&self, location: &str, names: &[&str], allow: &str) -> Result<Option<Url>, SourceError> {
        let wrong = |problem| SourceError::Settings { location: location.to_owned(), problem };
        self.variables.endpoint(names, allow).map_err(wrong)
    }

    fn remote<S: ObjectStore>(
        &self,
        kind: StoreKind,
        location: &str,
        endpoint: String,
        address: Option<&Url>,
        build: impl Fn(ClientOptions) -> object_store::Result<S>,
    ) -> Result<Remote, SourceError> {
        install_crypto();
        let built = match build(options()) {
            // A machine without CA certificates can't make a client for https, and needs none for
            // http.
            Err(_) if address.is_some_and(|url| url.scheme() == "http") => {
                build(options().with_config(ClientConfigKey::NoSystemCertificates, "true"))
            }
            built => built,
        };
        let variables = Arc::clone(&self.variables);
        match built {
            Ok(client) => Ok(Remote { client: Arc::new(client), kind, endpoint, variables }),
            Err(error) => Err(unusable(&error, location, &variables)),
        }
    }
}

/// An existing client.
#[derive(Debug)]
struct Connected(HttpClient);

impl HttpConnector for Connected {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// Installs ring as the TLS provider of the process, unless a provider is installed already.
fn install_crypto() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(crate::tls::install_provider);
}

fn options() -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("posthouse/", env!("CARGO_PKG_VERSION"))))
        .with_connect_timeout(CONNECT_LIMIT)
        .with_read_timeout(SILENCE_LIMIT)
        .with_timeout_disabled()
}

fn retries() -> RetryConfig {
    let (init_backoff, max_backoff) = BACKOFF;
    RetryConfig {
        backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
        max_retries: RETRIES,
        retry_timeout: RETRY_LIMIT,
    }
}

/// Returns the header that carries the user and password of an address.
fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    let decoded = |text: &str| percent_decoded(text);
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut bare = url.clone();
    let _ = (bare.set_username(""), bare.set_password(None));
    install_crypto();
    // Uses the library's own encoding. The request is never sent, so it needs no certificates.
    let client = reqwest::Client::builder().tls_certs_only([]).build().ok()?;
    let request =
        client.get(bare).basic_auth(decoded(url.username()), url.password().map(decoded)).build().ok()?;
    request.headers().get(AUTHORIZATION).cloned()
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
}
