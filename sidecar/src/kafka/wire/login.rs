//! Login by SASL, in Kafka's own frames. The number of rounds is fixed.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::Connection;
use super::scram::{Hash, Scram, ScramError};
use crate::config::{Login, Mechanism};
use crate::secret::Secret;

/// Versions that every broker from 1.0 to 4.x supports.
const SASL_HANDSHAKE: i16 = 1;
const SASL_AUTHENTICATE: i16 = 0;
/// Length of a broker's message in an error.
const MAX_MESSAGE: usize = 200;

impl Connection {
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] if the broker refuses the secret.
    pub(super) fn log_in(&mut self, login: &Login, secret: &Secret) -> io::Result<()> {
        let name = login.mechanism.name();
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name));
        let answer = self.ask(SASL_HANDSHAKE, &handshake)?;
        if let Some(error) = answer.error_code.err() {
            let known =
                answer.mechanisms.iter().map(|name| short(name)).take(8).collect::<Vec<_>>().join(", ");
            let problem = match error {
                ResponseError::UnsupportedSaslMechanism => {
                    format!("the broker does not support {name} here (it has {known}): set kafka.mechanism")
                }
                ResponseError::IllegalSaslState => {
                    "the broker demands no login at this port: remove kafka.user, or give another port"
                        .to_owned()
                }
                error => format!("the broker refuses a login by {name}: {error}"),
            };
            return Err(io::Error::new(ErrorKind::Unsupported, problem));
        }
        match login.mechanism {
            Mechanism::Plain => {
                let message = format!("\0{}\0{}", login.user, secret.reveal());
                self.authenticate(login, message).map(drop)
            }
            Mechanism::ScramSha256 => self.scram(login, secret, Hash::Sha256),
            Mechanism::ScramSha512 => self.scram(login, secret, Hash::Sha512),
            Mechanism::OauthBearer => {
                let message = format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", secret.reveal());
                let answer = self.authenticate(login, message)?;
                if answer.is_empty() {
                    return Ok(());
                }
                // A failure, in JSON. The broker waits for this byte, and refuses the login then.
                self.authenticate(login, "\u{1}".to_owned())?;
                Err(refused(login, &short(&String::from_utf8_lossy(&answer))))
            }
        }
    }

    fn scram(&mut self, login: &Login, secret: &Secret, hash: Hash) -> io::Result<()> {
        let scram = Scram::new(hash, &login.user, secret.reveal());
        let failed = |error: ScramError| match error {
            ScramError::Refused(error) => refused(login, &error),
            error => io::Error::new(ErrorKind::InvalidData, error),
        };
        let first = self.authenticate(login, scram.first_message())?;
        let (last, server) = scram.final_message(&first).map_err(failed)?;
        let answer = self.authenticate(login, last)?;
        server.check(&answer).map_err(failed)
    }

    fn authenticate(&mut self, login: &Login, message: String) -> io::Result<Bytes> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.ask(SASL_AUTHENTICATE, &request)?;
        match (answer.error_code.err(), answer.error_message) {
            (None, _) => Ok(answer.auth_bytes),
            (Some(_), Some(message)) => Err(refused(login, &short(&message))),
            (Some(error), None) => Err(refused(login, &error.to_string())),
        }
    }
}

fn refused(login: &Login, said: &str) -> io::Error {
    let name = login.mechanism.name();
    let problem = match login.mechanism {
        Mechanism::OauthBearer => {
            format!("the broker refuses the token ({said}): renew it, see kafka.token_file")
        }
        _ => format!(
            "the broker refuses the login of {} by {name} ({said}): check kafka.user and its password, and kafka.mechanism",
            login.user
        ),
    };
    io::Error::new(ErrorKind::PermissionDenied, problem)
}

/// A broker's text for an error, in one line.
fn short(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
