//! Login at a PostgreSQL that may be hostile.
//!
//! No password is sent in the clear over an open connection, and all that the server sends is
//! bounded.

use bytes::Bytes;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    self, ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::encryption::Privacy;
use super::wire::{Frame, FrameFields, Wire, WireError};
use crate::config::{BindingMode, Postgres};
use crate::secret::Secret;

/// Maximum size of a message during the login. PostgreSQL's own are smaller than 3 KiB, unless an
/// error quotes a long name.
const MAX_LOGIN_MESSAGE: usize = 64 << 10;
/// Maximum size of all messages during the login.
const MAX_LOGIN_BYTES: usize = 1 << 20;
/// Ensures one text form of values and one meaning of literals, and turns rows hidden by a policy
/// into an error, regardless of the server's or the role's defaults.
const OPTIONS: &str = "-c timezone=UTC -c datestyle=ISO -c statement_timeout=0 -c extra_float_digits=1 -c row_security=off \
     -c standard_conforming_strings=on";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Queries,
    Replication,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error(
        "it asks for the password in the clear, and the connection is not encrypted: set persons.postgres.sslmode to \
         \"verify-full\", or let pg_hba.conf ask for scram-sha-256"
    )]
    Cleartext,
    #[error("it asks for a password: set POSTHOUSE_POSTGRES_PASSWORD or persons.postgres.password_file")]
    NoPassword,
    #[error("it asks for {0}, which posthouse does not have: let pg_hba.conf ask for scram-sha-256 or cert")]
    Method(String),
    #[error("{0}, although persons.postgres.channel_binding is \"require\"")]
    NoBinding(&'static str),
    #[error("SCRAM failed: {0}")]
    Scram(std::io::Error),
    #[error("it sent more than {} KiB during the login: is this the address of a PostgreSQL?", MAX_LOGIN_BYTES >> 10)]
    Flood,
    #[error(
        "its {name} is {value:?} although posthouse asked for {wanted}: this is a pooler that ignores startup options; give the \
         address of PostgreSQL itself"
    )]
    Setting { name: &'static str, value: String, wanted: &'static str },
}

/// Settings that the server reports at login, each empty if it is not reported.
#[derive(Debug, Default)]
pub(super) struct ServerSettings {
    in_hot_standby: String,
    default_transaction_read_only: String,
    standard_conforming_strings: String,
    client_encoding: String,
    time_zone: String,
    date_style: String,
}

impl ServerSettings {
    /// Whether the server takes no writes, and why.
    pub(super) fn read_only_reason(&self) -> Option<&'static str> {
        match (self.in_hot_standby.as_str(), self.default_transaction_read_only.as_str()) {
            ("on", _) => Some("it is a standby"),
            (_, "on") => Some("its default_transaction_read_only is on"),
            _ => None,
        }
    }

    fn keep(&mut self, name: &str, value: String) {
        let place = match name {
            "in_hot_standby" => &mut self.in_hot_standby,
            "default_transaction_read_only" => &mut self.default_transaction_read_only,
            "standard_conforming_strings" => &mut self.standard_conforming_strings,
            "client_encoding" => &mut self.client_encoding,
            "TimeZone" => &mut self.time_zone,
            "DateStyle" => &mut self.date_style,
            _ => return,
        };
        *place = value;
    }

    /// Fails if the server has other settings than the startup message asked for.
    fn check(&self) -> Result<(), LoginError> {
        let wanted = [
            ("standard_conforming_strings", &self.standard_conforming_strings, "on"),
            ("client_encoding", &self.client_encoding, "UTF8"),
            ("TimeZone", &self.time_zone, "UTC"),
            ("DateStyle", &self.date_style, "ISO"),
        ];
        for (name, value, wanted) in wanted {
            if !value.is_empty() && !value.starts_with(wanted) {
                return Err(LoginError::Setting { name, value: value.clone(), wanted });
            }
        }
        Ok(())
    }
}

/// Logs in and returns the server's settings. `password` is the current one.
pub(super) async fn log_in(
    wire: &mut Wire,
    config: &Postgres,
    purpose: Purpose,
    privacy: &Privacy,
    password: Option<&Secret>,
) -> Result<ServerSettings, LoginError> {
    let connection = &config.connection;
    let mut parameters = vec![
        ("user", connection.user.as_str()),
        ("database", config.database.as_str()),
        ("client_encoding", "UTF8"),
        ("application_name", "posthouse"),
        ("options", OPTIONS),
    ];
    if purpose == Purpose::Replication {
        parameters.push(("replication", "database"));
    }
    frontend::startup_message(parameters, wire.output()).map_err(WireError::from)?;
    wire.flush().await?;
    let mut login = LoginExchange { wire, left: MAX_LOGIN_BYTES, settings: ServerSettings::default() };
    login.authenticate(config, privacy, password).await?;
    login.settings().await
}

/// A login in progress.
struct LoginExchange<'w> {
    wire: &'w mut Wire,
    /// Bytes that the server may still send.
    left: usize,
    settings: ServerSettings,
}

impl LoginExchange<'_> {
    /// The next message that is no notice.
    async fn next(&mut self) -> Result<Frame, LoginError> {
        loop {
            let frame = self.wire.read(MAX_LOGIN_MESSAGE).await?;
            self.left = self.left.checked_sub(frame.body.len() + 5).ok_or(LoginError::Flood)?;
            if frame.tag != b'N' {
                return Ok(frame);
            }
        }
    }

    /// The next message of the authentication: its kind and its data.
    async fn request(&mut self) -> Result<(i32, FrameFields), LoginError> {
        let frame = self.next().await?;
        if frame.tag != b'R' {
            return Err(WireError::Unexpected(char::from(frame.tag)).into());
        }
        let mut fields = FrameFields::new(frame);
        Ok((fields.i32("kind of authentication")?, fields))
    }

    async fn authenticate(
        &mut self,
        config: &Postgres,
        privacy: &Privacy,
        password: Option<&Secret>,
    ) -> Result<(), LoginError> {
        let (kind, mut fields) = self.request().await?;
        let is_bound = config.connection.channel_binding == BindingMode::Require;
        let unbound = |text| if is_bound { Err(LoginError::NoBinding(text)) } else { Ok(()) };
        let given = || password.ok_or(LoginError::NoPassword);
        match kind {
            0 => return unbound("it logs in without a password"),
            3 => {
                unbound("it asks for the password in the clear")?;
                if *privacy == Privacy::Open {
                    return Err(LoginError::Cleartext);
                }
                self.send_password(given()?.reveal().as_bytes()).await?;
            }
            5 => {
                unbound("it asks for the password as md5")?;
                let salt = fields.take(4, "salt")?;
                let salt = [salt[0], salt[1], salt[2], salt[3]];
                let user = config.connection.user.as_bytes();
                let hash = md5_hash(user, given()?.reveal().as_bytes(), salt);
                self.send_password(hash.as_bytes()).await?;
            }
            10 => self.scram(&fields.rest(), config.connection.channel_binding, privacy, given()?).await?,
            2 | 7 | 8 | 9 => return Err(LoginError::Method("Kerberos, GSSAPI or SSPI".to_owned())),
            other => return Err(LoginError::Method(format!("authentication {other}"))),
        }
        match self.request().await? {
            (0, _) => Ok(()),
            _ => Err(WireError::Unexpected('R').into()),
        }
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<(), LoginError> {
        frontend::password_message(password, self.wire.output()).map_err(WireError::from)?;
        Ok(self.wire.flush().await?)
    }

    async fn scram(
        &mut self,
        mechanisms: &Bytes,
        mode: BindingMode,
        privacy: &Privacy,
        password: &Secret,
    ) -> Result<(), LoginError> {
        let (mechanism, binding) = mechanism(mechanisms, mode, privacy)?;
        let mut scram = ScramSha256::new(password.reveal().as_bytes(), binding);
        frontend::sasl_initial_response(mechanism, scram.message(), self.wire.output())
            .map_err(WireError::from)?;
        self.wire.flush().await?;
        let (11, fields) = self.request().await? else { return Err(WireError::Unexpected('R').into()) };
        // The library refuses more than 100,000 iterations.
        scram.update(&fields.rest()).map_err(LoginError::Scram)?;
        frontend::sasl_response(scram.message(), self.wire.output()).map_err(WireError::from)?;
        self.wire.flush().await?;
        let (12, fields) = self.request().await? else { return Err(WireError::Unexpected('R').into()) };
        scram.finish(&fields.rest()).map_err(LoginError::Scram)
    }

    /// Reads the messages between the login and the first statement.
    async fn settings(mut self) -> Result<ServerSettings, LoginError> {
        loop {
            let frame = self.next().await?;
            match frame.tag {
                b'S' => {
                    let mut fields = FrameFields::new(frame);
                    let name = fields.text("name of a setting")?;
                    self.settings.keep(&name, fields.text("value of a setting")?);
                }
                b'K' => {}
                b'Z' => {
                    self.settings.check()?;
                    return Ok(self.settings);
                }
                other => return Err(WireError::Unexpected(char::from(other)).into()),
            }
        }
    }
}

/// Chooses the mechanism among those of the server, each a text that ends with a zero byte.
fn mechanism(
    offered: &[u8],
    mode: BindingMode,
    privacy: &Privacy,
) -> Result<(&'static str, ChannelBinding), LoginError> {
    let has = |name: &str| offered.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
    let end_point = match privacy {
        Privacy::Tls(Some(end_point)) if mode != BindingMode::Disable => Some(end_point.clone()),
        _ => None,
    };
    match (has(SCRAM_SHA_256_PLUS), end_point) {
        (true, Some(end_point)) => Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(end_point))),
        (_, end_point) if mode == BindingMode::Require => Err(LoginError::NoBinding(match end_point {
            Some(_) => "it offers no channel binding",
            None => "the connection has no certificate to bind to",
        })),
        _ if !has(SCRAM_SHA_256) => {
            let names = String::from_utf8_lossy(offered).replace('\0', " ");
            Err(LoginError::Method(super::server_error::visible(names.trim())))
        }
        // It says that a binding was possible, so that the server detects a removed offer.
        (false, Some(_)) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        _ => Ok((SCRAM_SHA_256, sasl::ChannelBinding::unsupported())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";

    #[test]
    fn binds_to_the_certificate_where_both_sides_can() {
        use BindingMode::*;
        let tls = Privacy::Tls(Some(vec![1; 32]));
        for (offered, mode, privacy, wanted) in [
            (BOTH, Prefer, &tls, Some(SCRAM_SHA_256_PLUS)),
            (BOTH, Require, &tls, Some(SCRAM_SHA_256_PLUS)),
            (BOTH, Disable, &tls, Some(SCRAM_SHA_256)),
            (PLAIN, Prefer, &tls, Some(SCRAM_SHA_256)),
            (PLAIN, Require, &tls, None),
            (PLAIN, Prefer, &Privacy::Open, Some(SCRAM_SHA_256)),
            (BOTH, Require, &Privacy::Open, None),
            (BOTH, Require, &Privacy::Tls(None), None),
            (b"OAUTHBEARER\0\0", Prefer, &tls, None),
            (b"", Prefer, &tls, None),
        ] {
            let chosen = mechanism(offered, mode, privacy).map(|(name, _)| name);
            assert_eq!(chosen.as_ref().ok().copied(), wanted, "{offered:?} {mode:?} {privacy:?}");
        }
    }
}
