//! Connections to PostgreSQL, for queries and for replication alike.

pub(crate) mod server_error;
pub(crate) mod wire;
mod dial;
mod channel_binding;
mod encryption;
mod login;
pub(crate) mod query;

use std::time::Duration;

use tokio::time::timeout;

use self::dial::dial;
use self::encryption::EncryptionError;
use self::login::LoginError;
pub(crate) use self::login::Purpose;
use self::wire::{Wire, WireError};
use crate::config::{Postgres, PostgresHost, SessionTarget};
use crate::secret::{Credential, Secret};

/// Time limit of connection, encryption and login at one host together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no host of the config gave a session.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct ConnectError {
    /// The hosts that were tried.
    pub(crate) address: String,
    /// The reason of each.
    pub(crate) said: String,
}

/// A session that is logged in.
pub(crate) struct OpenSession {
    pub(crate) wire: Wire,
    /// The host that gave it.
    pub(crate) address: String,
}

/// Why one host gave no session.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error("{0}")]
    Dial(std::io::Error),
    #[error("{0}")]
    Encryption(#[from] EncryptionError),
    #[error("{0}")]
    Login(#[from] LoginError),
    #[error("no login within {} s", LOGIN_TIMEOUT.as_secs())]
    Late,
    #[error("{0}, and persons.postgres.target_session_attrs is \"read-write\"")]
    ReadOnly(&'static str),
}

impl HostError {
    /// Whether the server refused the login, so that another password may help, and another host
    /// of the same cluster will not.
    fn is_refused_login(&self) -> bool {
        let Self::Login(LoginError::Wire(error)) = self else { return false };
        error.server().is_some_and(server_error::ServerError::is_refused_login)
    }

    /// The next step; empty if none is known.
    fn hint(&self, config: &Postgres) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let (user, database) = (quoted(&config.connection.user), quoted(&config.database));
        let text = self.to_string();
        let pooler = "this is a pooler such as PgBouncer: give the address of PostgreSQL itself".to_owned();
        let hints = [
            ("unsupported startup parameter", pooler),
            (
                "no encryption",
                "it may require TLS: set persons.postgres.sslmode to \"verify-full\"".to_owned(),
            ),
            ("SSL encryption", "it may refuse TLS: set persons.postgres.sslmode to \"disable\"".to_owned()),
            ("received fatal alert", "check sslcert and sslkey".to_owned()),
            ("a valid client certificate", "set persons.postgres.sslcert and sslkey".to_owned()),
            ("is not permitted to log in", format!("let it: ALTER ROLE {user} LOGIN;")),
            (
                "permission denied for database",
                format!("let it: GRANT CONNECT ON DATABASE {database} TO {user};"),
            ),
        ];
        let hint = hints.into_iter().find(|(words, _)| text.contains(words));
        hint.map(|(_, hint)| format!("; {hint}")).unwrap_or_default()
    }
}

/// Connects to the first host that fits, and logs in.
///
/// # Errors
/// Fails if no host fits, also for a wrong password.
pub(crate) async fn open(config: &Postgres, purpose: Purpose) -> Result<OpenSession, ConnectError> {
    let connection = &config.connection;
    let mut reasons = Vec::new();
    for host in &connection.hosts {
        match open_at(config, host, purpose).await {
            Ok(wire) => return Ok(OpenSession { wire, address: host.to_string() }),
            Err(error) => {
                let is_last = error.is_refused_login();
                let said = format!("{error}{}", error.hint(config));
                if connection.hosts.len() > 1 {
                    tracing::debug!(host = %host, error = said, "host of PostgreSQL is skipped");
                }
                reasons.push((host, said));
                if is_last {
                    break;
                }
            }
        }
    }
    let said = match &reasons[..] {
        [(_, said)] if connection.hosts.len() == 1 => said.clone(),
        _ => reasons.iter().map(|(host, said)| format!("{host}: {said}")).collect::<Vec<_>>().join("; "),
    };
    Err(ConnectError { address: connection.address(), said })
}

/// Logs in at one host. A refused password is read again, and used if it is another one by now.
async fn open_at(config: &Postgres, host: &PostgresHost, purpose: Purpose) -> Result<Wire, HostError> {
    let credential = config.connection.password.as_ref();
    let password = credential.map(Credential::secret);
    match attempt(config, host, purpose, password.as_ref()).await {
        Err(error) if error.is_refused_login() => {
            let (Some(credential), Some(refused)) = (credential.cloned(), password) else {
                return Err(error);
            };
            // It may run a command.
            let reading =
                tokio::task::spawn_blocking(move || credential.reread(&refused).then(|| credential.secret()));
            match reading.await {
                Ok(Some(changed)) => attempt(config, host, purpose, Some(&changed)).await,
                _ => Err(error),
            }
        }
        other => other,
    }
}

async fn attempt(
    config: &Postgres,
    host: &PostgresHost,
    purpose: Purpose,
    password: Option<&Secret>,
) -> Result<Wire, HostError> {
    let connection = &config.connection;
    let attempt = async {
        let stream = dial(host).await.map_err(HostError::Dial)?;
        let secured = encryption::secure(stream, host, &connection.tls).await?;
        let mut wire = Wire::new(secured.stream);
        let settings = login::log_in(&mut wire, config, purpose, &secured.privacy, password).await?;
        match settings.read_only_reason() {
            Some(reason) if connection.target == SessionTarget::ReadWrite => Err(HostError::ReadOnly(reason)),
            _ => Ok(wire),
        }
    };
    timeout(LOGIN_TIMEOUT, attempt).await.unwrap_or(Err(HostError::Late))
}

/// Ends a session without a wait for it.
pub(crate) fn end_soon(mut wire: Wire) {
    /// Time limit for the server to take the last message.
    const END_TIMEOUT: Duration = Duration::from_millis(500);
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let _: Result<Result<(), WireError>, _> = timeout(END_TIMEOUT, wire.end()).await;
    });
}
