//! OAuth tokens: user and end of life.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::secret::Secret;

/// Life of a token that does not say how long it lives. It is renewed when most of it is over.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// Name of the user in the library's log, if the token has none.
const UNKNOWN_USER: &str = "posthouse";

/// The claims of a JSON web token that matter here. Brokers verify them; posthouse does not.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

/// Why a token can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the token of kafka.token_file or kafka.token_command has expired: renew it")]
pub(super) struct Expired;

/// Returns the token with its user and the end of its life.
///
/// # Errors
/// Fails if it has expired.
pub(super) fn read(secret: &Secret, now: SystemTime) -> Result<OAuthToken, Expired> {
    let claims = claims(secret.reveal());
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let unknown = now.saturating_add(i64::try_from(UNKNOWN_LIFE.as_millis()).unwrap_or_default());
    // The conversion saturates.
    let end = claims.as_ref().and_then(|claims| claims.exp).map_or(unknown, |exp| (exp * 1000.0) as i64);
    if end <= now {
        return Err(Expired);
    }
    let user = claims.and_then(|claims| claims.sub).filter(|sub| !sub.is_empty() && !sub.contains('\0'));
    Ok(OAuthToken {
        token: secret.reveal().to_owned(),
        principal_name: user.unwrap_or_else(|| UNKNOWN_USER.to_owned()),
        lifetime_ms: end,
    })
}

/// The second of a token's three parts; `None` if it is no JSON web token.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Secret {
        Secret::from(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn a_web_token_says_its_user_and_end() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let read_at = |payload: &str| read(&token(payload), now);
        let token = read_at(r#"{"sub":"eve","exp":1060.5}"#).expect("a token");
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("eve", 1_060_500));
        assert_eq!(read_at(r#"{"exp":999}"#).map(drop), Err(Expired));
        let endless = read_at(r#"{"exp":1e300}"#).expect("a token");
        assert_eq!(endless.lifetime_ms, i64::MAX);
    }

    #[test]
    fn another_token_is_read_again_after_minutes() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for text in ["opaque", "a.b.c", "a.%%.c", "..", "a.e30.c", "a.bnVsbA.c"] {
            let token = read(&Secret::from(text.to_owned()), now).expect("a token");
            assert_eq!(
                (token.principal_name.as_str(), token.lifetime_ms),
                ("posthouse", 1_300_000),
                "{text}"
            );
            assert_eq!(token.token, text);
        }
    }
}
