//! Binding of a login to the certificate of its TLS connection (RFC 5929, tls-server-end-point).

use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::x509::X509;

/// Returns the digest of a certificate by the hash of its signature, with SHA-256 instead of MD5
/// and SHA-1. `None` for signatures without a hash of their own, such as Ed25519, for which
/// PostgreSQL has no channel binding either.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = X509::from_der(certificate).ok()?;
    let digest = match parsed.signature_algorithm().object().nid().signature_algorithms()?.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        other => MessageDigest::from_nid(other)?,
    };
    hash(digest, certificate).ok().map(|digest| digest.to_vec())
}
