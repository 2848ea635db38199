//! TLS of the stack: certificates, and a terminator before servers that speak plain TCP.

mod certificates;
mod terminator;

pub use certificates::{CertificateAuthority, PemPair};
pub use terminator::TlsTerminator;
