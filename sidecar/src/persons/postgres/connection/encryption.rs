//! TLS of a connection, as `sslmode` of libpq asks for it.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::channel_binding::server_end_point;
use super::wire::ByteStream;
use crate::config::{PostgresHost, PostgresTls, SslMode};
use crate::tls::{self, TlsError};

/// A stream, with what the login has to know of it.
pub(super) struct SecuredStream {
    pub(super) stream: Box<dyn ByteStream>,
    pub(super) privacy: Privacy,
}

/// Protection of a stream against readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Privacy {
    /// A host between the two can read it.
    Open,
    /// It does not leave the machine.
    Socket,
    /// TLS, with the digest of the server's certificate if it has one.
    Tls(Option<Vec<u8>>),
}

/// Why no stream could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncryptionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(
        "it offers no TLS, and persons.postgres.sslmode is \"{0}\": turn on ssl in postgresql.conf, or set sslmode = \
         \"prefer\" if the network is trusted"
    )]
    Refused(SslMode),
    #[error("it answered {0:?} when asked for TLS: is this the address of a PostgreSQL?")]
    Answer(char),
    #[error("{}", with_keys(.0))]
    Setup(TlsError),
    #[error("the TLS handshake failed: {0}{1}")]
    Handshake(io::Error, String),
}

/// Encrypts a stream, unless the config or, with `sslmode=prefer`, the server says otherwise.
pub(super) async fn secure(
    mut stream: Box<dyn ByteStream>,
    host: &PostgresHost,
    config: &PostgresTls,
) -> Result<SecuredStream, EncryptionError> {
    let PostgresHost::Tcp(address) = host else {
        return Ok(SecuredStream { stream, privacy: Privacy::Socket });
    };
    if config.mode == SslMode::Disable {
        return Ok(SecuredStream { stream, privacy: Privacy::Open });
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    stream.flush().await?;
    // One byte, so that nothing that was sent in the clear is taken for a part of what follows.
    match stream.read_u8().await? {
        b'S' => {}
        // libpq also retries in the clear if TLS fails. A host between the two could make it fail.
        b'N' if config.mode == SslMode::Prefer => {
            return Ok(SecuredStream { stream, privacy: Privacy::Open });
        }
        b'N' => return Err(EncryptionError::Refused(config.mode)),
        other => return Err(EncryptionError::Answer(char::from(other))),
    }
    let tls = config.tls();
    let connector = TlsConnector::from(Arc::new(tls::client_config(&tls).map_err(EncryptionError::Setup)?));
    let name = tls::server_name(&tls, &address.host).map_err(EncryptionError::Setup)?;
    let connecting = connector.connect(name, stream).await;
    let stream = connecting.map_err(|error| {
        let hint = with_key_names(tls::hint(&error.to_string()));
        EncryptionError::Handshake(error, hint)
    })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let end_point = certificate.and_then(|certificate| server_end_point(certificate));
    Ok(SecuredStream { stream: Box::new(stream), privacy: Privacy::Tls(end_point) })
}

fn with_keys(error: &TlsError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    with_key_names(&format!("{error}{cause}"))
}

/// Replaces the keys of `tls` tables by those of libpq, which name the same things.
fn with_key_names(text: &str) -> String {
    text.replace("key_password_file", "sslpassword_file")
        .replace("certificate_file", "sslcert")
        .replace("key_file", "sslkey")
        .replace("ca_file", "sslrootcert")
        .replace(", or set server_name", "")
        .replace(": set server_name", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_keys_of_libpq() {
        for error in ["UnknownIssuer", "CertificateRequired", "NotValidForName", "received fatal alert"] {
            let hint = with_key_names(tls::hint(error));
            assert!(!hint.is_empty() && !hint.contains("_file") && !hint.contains("server_name"), "{hint}");
        }
    }
}
