//! SCRAM login (RFC 5802), without a channel binding, which Kafka lacks.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Hashes of the password that a server may ask for. Kafka's least is 4,096, and it makes 8,192
/// for new users. A hostile server could keep a thread busy with more.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;
/// Bytes of randomness.
const NONCE_BYTES: usize = 24;

/// Why a login fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("the broker's SCRAM answer is malformed: {0}")]
    Malformed(&'static str),
    #[error(
        "the broker asks for {0} iterations of SCRAM: posthouse accepts {least} to {most}",
        least = ITERATIONS.start(), most = ITERATIONS.end()
    )]
    Iterations(String),
    #[error("the broker does not know the password: it may be another server in the place of the broker")]
    WrongServer,
    /// In the server's words.
    #[error("{0}")]
    Refused(String),
}

/// The hash of a mechanism.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// A login after its first message.
pub(super) struct Scram<'p> {
    hash: Hash,
    password: &'p str,
    nonce: String,
    /// First message without its header.
    bare: String,
}

/// The proof that the server must give.
#[derive(Debug)]
pub(super) struct ServerProof(Vec<u8>);

impl<'p> Scram<'p> {
    pub(super) fn new(hash: Hash, user: &str, password: &'p str) -> Self {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        Self::with_nonce(hash, user, password, STANDARD.encode(nonce))
    }

    fn with_nonce(hash: Hash, user: &str, password: &'p str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password, bare: format!("n={user},r={nonce}"), nonce }
    }

    pub(super) fn first_message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Returns the answer to the server's first message.
    ///
    /// # Errors
    /// Fails if the message is malformed, answers another client, or asks for too much work.
    pub(super) fn final_message(&self, first: &[u8]) -> Result<(String, ServerProof), ScramError> {
        let first = std::str::from_utf8(first).map_err(|_| ScramError::Malformed("it is not UTF-8"))?;
        let fields = fields(first)?;
        let nonce =
            fields.get(&'r').filter(|nonce| nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce));
        let nonce = nonce.ok_or(ScramError::Malformed("its nonce does not continue ours"))?;
        let salt = fields.get(&'s').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or(ScramError::Malformed("it has no salt"))?;
        let asked = fields.get(&'i').ok_or(ScramError::Malformed("it has no iterations"))?;
        let iterations = asked.parse::<u32>().ok().filter(|count| ITERATIONS.contains(count));
        let iterations =
            iterations.ok_or_else(|| ScramError::Iterations(asked.chars().take(20).collect()))?;
        let unsigned = format!("c=biws,r={nonce}");
        let signed = format!("{},{first},{unsigned}", self.bare);
        let (proof, server) = match self.hash {
            Hash::Sha256 => proofs_sha256(self.password, &salt, iterations, &signed),
            Hash::Sha512 => proofs_sha512(self.password, &salt, iterations, &signed),
        };
        Ok((format!("{unsigned},p={}", STANDARD.encode(proof)), ServerProof(server)))
    }
}

impl ServerProof {
    /// Checks the server's last message.
    ///
    /// # Errors
    /// Fails if the server refuses the login, or does not know the password itself.
    pub(super) fn check(&self, last: &[u8]) -> Result<(), ScramError> {
        let last = std::str::from_utf8(last).map_err(|_| ScramError::Malformed("it is not UTF-8"))?;
        let fields = fields(last)?;
        if let Some(error) = fields.get(&'e') {
            return Err(ScramError::Refused(error.chars().take(200).collect()));
        }
        let proof = fields.get(&'v').and_then(|proof| STANDARD.decode(proof).ok());
        let proof = proof.ok_or(ScramError::Malformed("it has no signature"))?;
        if proof == self.0 { Ok(()) } else { Err(ScramError::WrongServer) }
    }
}

/// The fields of a message, `a=…,b=…`.
fn fields(message: &str) -> Result<BTreeMap<char, &str>, ScramError> {
    let field = |part: &'_ str| -> Option<(char, usize)> {
        let name = part.chars().next().filter(char::is_ascii_alphabetic)?;
        part[1..].starts_with('=').then_some((name, 2))
    };
    let mut fields = BTreeMap::new();
    for part in message.split(',') {
        let (name, start) = field(part).ok_or(ScramError::Malformed("it is not a list of fields"))?;
        // An extension that a client must know.
        if name == 'm' || fields.insert(name, &part[start..]).is_some() {
            return Err(ScramError::Malformed("it has a field twice, or an extension"));
        }
    }
    Ok(fields)
}

macro_rules! proofs {
    ($name:ident, $hash:ty) => {
        /// The client's proof and the server's.
        fn $name(password: &str, salt: &[u8], iterations: u32, signed: &str) -> (Vec<u8>, Vec<u8>) {
            let hmac = |key: &[u8], text: &[u8]| {
                // HMAC takes keys of every length.
                let Ok(mut mac) = Hmac::<$hash>::new_from_slice(key) else { return Vec::new() };
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            };
            let mut salted = vec![0; <$hash as Digest>::output_size()];
            // As above.
            let _ = pbkdf2::pbkdf2::<Hmac<$hash>>(password.as_bytes(), salt, iterations, &mut salted);
            let client = hmac(&salted, b"Client Key");
            let stored = <$hash as Digest>::digest(&client).to_vec();
            let signature = hmac(&stored, signed.as_bytes());
            let proof = client.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
            (proof, hmac(&hmac(&salted, b"Server Key"), signed.as_bytes()))
        }
    };
}

proofs!(proofs_sha256, Sha256);
proofs!(proofs_sha512, Sha512);

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn login() -> Scram<'static> {
        Scram::with_nonce(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn proves_as_the_example_of_rfc_7677() {
        let login = login();
        assert_eq!(login.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, server) = login.final_message(SERVER.as_bytes()).expect("an answer");
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(server.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(
            server.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8="),
            Err(ScramError::WrongServer)
        );
        assert_eq!(server.check(b"e=other-error"), Err(ScramError::Refused("other-error".to_owned())));
        assert!(server.check(b"").is_err() && server.check(b"v").is_err() && server.check(b"v=%").is_err());
    }

    #[test]
    fn refuses_hostile_servers() {
        let login = login();
        for hostile in [
            "",
            ",",
            "=",
            "ü=1",
            "r",
            "r=other,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=%,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1000001",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=-1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=99999999999999999999",
            "r=rOprNGfwEbeRWgbNEkqOx,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096",
        ] {
            assert!(login.final_message(hostile.as_bytes()).is_err(), "{hostile:?}");
        }
        assert!(login.final_message(b"\xff").is_err());
    }

    #[test]
    fn names_with_commas_and_equal_signs_are_quoted() {
        let login = Scram::new(Hash::Sha512, "a,b=c", "x");
        assert!(login.first_message().starts_with("n,,n=a=2Cb=3Dc,r="), "{}", login.first_message());
    }
}
