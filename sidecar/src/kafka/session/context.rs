//! Context of every client of librdkafka: log, faults, tokens, changed passwords.

#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::bindings as library;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaRespErr};

use super::reasons::{self, Reasons};
use super::token;
use crate::config::{Login, Mechanism};
use crate::secret::Secret;

/// Least time between two reads of a refused secret. The library logs in again several times a
/// second, and a command takes up to ten seconds.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);
/// Buffer for librdkafka's message about a token.
const MESSAGE_BYTES: usize = 512;

/// The context of one client. `part` is what a kind of client adds to it.
pub(crate) struct LibraryContext<P = ()> {
    shared: ContextState,
    pub(crate) part: P,
}

struct ContextState {
    login: Option<Login>,
    reasons: Reasons,
    /// Whether the brokers have refused the login since the last look.
    is_refused: AtomicBool,
    used: Mutex<Used>,
}

/// The secret that the library has, and when the source was read last.
struct Used {
    secret: Option<Secret>,
    reread: Option<Instant>,
}

impl<P> LibraryContext<P> {
    pub(crate) fn new(login: Option<Login>, part: P) -> Self {
        let secret = login.as_ref().map(|login| login.secret.secret());
        let shared = ContextState {
            login,
            reasons: Reasons::default(),
            is_refused: AtomicBool::new(false),
            used: Mutex::new(Used { secret, reread: None }),
        };
        Self { shared, part }
    }

    /// The library's most telling reason of the last minute.
    pub(crate) fn reason(&self) -> Option<String> {
        self.shared.reasons.strongest()
    }

    fn note(&self, text: &str) {
        if reasons::is_refused_login(text) {
            self.shared.is_refused.store(true, Ordering::Relaxed);
        }
        self.shared.reasons.note(text);
    }

    /// Gives the library a token before its first poll. Without it, connections would wait for
    /// one.
    pub(crate) fn prepare(&self, client: *mut RDKafka) {
        let login = self.shared.login.as_ref();
        if login.is_some_and(|login| login.mechanism == Mechanism::OauthBearer) {
            self.set_token(client);
        }
    }

    /// Gives the library a new secret if the brokers have refused the last one and its source has
    /// another. Blocks while the source is read.
    pub(crate) fn renew(&self, client: *mut RDKafka) {
        let Some(login) = &self.shared.login else { return };
        if !self.shared.is_refused.load(Ordering::Relaxed) {
            return;
        }
        let mut used = self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(refused) = used.secret.clone() else { return };
        if used.reread.is_some_and(|reread| reread.elapsed() < REREAD_INTERVAL) {
            return;
        }
        used.reread = Some(Instant::now());
        if !login.secret.reread(&refused) {
            return;
        }
        self.shared.is_refused.store(false, Ordering::Relaxed);
        let secret = login.secret.secret();
        used.secret = Some(secret.clone());
        drop(used);
        match login.mechanism {
            Mechanism::OauthBearer => self.set_token(client),
            _ => set_password(client, &login.user, &secret),
        }
        tracing::info!(user = %login.user, "logging in to the brokers with a new secret");
    }

    fn set_token(&self, client: *mut RDKafka) {
        if let Err(error) = self.current_token().and_then(|token| set_token(client, &token)) {
            self.note(&format!("no token: {error}"));
        }
    }

    /// The token that was read last, or a new one if it has expired.
    fn current_token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let login = self.shared.login.as_ref().ok_or("the config has no token")?;
        match self.use_token(login.secret.secret()) {
            Ok(token) => Ok(token),
            Err(_) => self.new_token(),
        }
    }

    /// The token as its source has it now. An old one stays in use if the source can't be read.
    fn new_token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let login = self.shared.login.as_ref().ok_or("the config has no token")?;
        login.secret.reread(&login.secret.secret());
        self.use_token(login.secret.secret())
    }

    fn use_token(&self, secret: Secret) -> Result<OAuthToken, Box<dyn Error>> {
        let token = token::read(&secret, SystemTime::now())?;
        self.shared.used.lock().unwrap_or_else(PoisonError::into_inner).secret = Some(secret);
        Ok(token)
    }
}

impl<P: Send + Sync> ClientContext for LibraryContext<P> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Sends the library's messages to the debug log, including retries and refused connections.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(severity = ?level, facility, text = %message, "librdkafka event");
        if matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning
        ) {
            self.note(message);
        }
    }

    fn error(&self, error: LibraryError, reason: &str) {
        tracing::debug!(%error, text = %reason, "librdkafka error");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            self.shared.is_refused.store(true, Ordering::Relaxed);
        }
        self.note(reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.new_token()
    }
}

impl ConsumerContext for LibraryContext {}

impl ProducerContext for LibraryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

fn set_password(client: *mut RDKafka, user: &str, secret: &Secret) {
    let (Ok(user), Ok(password)) = (CString::new(user), CString::new(secret.reveal())) else { return };
    // SAFETY: the client is alive during the call, and the library copies both texts. An error,
    // which it returns for an old mechanism only, is freed.
    unsafe {
        let error = library::rd_kafka_sasl_set_credentials(client, user.as_ptr(), password.as_ptr());
        if !error.is_null() {
            library::rd_kafka_error_destroy(error);
        }
    }
}

fn set_token(client: *mut RDKafka, token: &OAuthToken) -> Result<(), Box<dyn Error>> {
    let value = CString::new(token.token.as_str())?;
    let principal = CString::new(token.principal_name.as_str())?;
    let mut message: [c_char; MESSAGE_BYTES] = [0; MESSAGE_BYTES];
    // SAFETY: the client is alive during the call, the library copies the texts, and the message
    // has the given length.
    let code = unsafe {
        library::rd_kafka_oauthbearer_set_token(
            client,
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            message.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    Err("librdkafka does not accept it: print one line with nothing but the token".into())
}
