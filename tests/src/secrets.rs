//! Secrets of the tests, which no output of posthouse may have.
//!
//! Each secret is registered where it is made. All outputs, files, definitions and logs that pass
//! through the harness are searched for all secrets, and a test whose output has one fails.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A shorter text could be a part of any other.
const MIN_BYTES: usize = 6;
/// Larger files hold rows.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bytes shown around a secret.
const CONTEXT_BYTES: usize = 60;

static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static LEAKS: Mutex<Vec<Leak>> = Mutex::new(Vec::new());

thread_local! {
    static TEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A secret in an output.
struct Leak {
    /// The test whose thread found it; `None` on a thread of a test's own.
    test: Option<String>,
    text: String,
}

/// Registers a secret of the tests, and returns it.
///
/// # Panics
/// If it is too short to be found.
pub fn register(secret: &str) -> &str {
    assert!(secret.len() >= MIN_BYTES, "a secret of the tests has at least {MIN_BYTES} bytes");
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).extend(forms(secret));
    secret
}

/// The secret as literals of SQL and JSON and as a part of a URL.
fn forms(secret: &str) -> [String; 5] {
    let percent = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    [
        secret.to_owned(),
        secret.replace('\'', "''"),
        secret.replace('\\', "\\\\").replace('\'', "\\'"),
        secret.replace('\\', "\\\\").replace('"', "\\\""),
        secret.bytes().map(percent).collect(),
    ]
}

/// Names the test that runs on this thread.
pub fn begin(test: &str) {
    TEST.set(Some(test.to_owned()));
}

/// Returns the leaks of the test of this thread, and those of unknown threads.
pub fn leaks() -> Vec<String> {
    let test = TEST.with_borrow(Clone::clone);
    let mut leaks = LEAKS.lock().unwrap_or_else(PoisonError::into_inner);
    leaks.extract_if(.., |leak| leak.test.is_none() || leak.test == test).map(|leak| leak.text).collect()
}

/// Searches a text for secrets. `origin` names the text in the report.
pub fn search(origin: &str, text: &str) {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for secret in secrets {
        let Some(at) = text.find(&secret) else { continue };
        let before = text.get(..at).unwrap_or_default().chars().rev().take(CONTEXT_BYTES);
        let before: String = before.collect::<Vec<_>>().into_iter().rev().collect();
        let text = format!("a secret of the tests is in {origin}, after {before:?}");
        let test = TEST.with_borrow(Clone::clone);
        LEAKS.lock().unwrap_or_else(PoisonError::into_inner).push(Leak { test, text });
    }
}

/// Searches all files below a folder, except those that hold a secret alone.
///
/// # Errors
/// If a folder can't be listed.
pub fn search_files(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        if metadata.is_dir() {
            search_files(&path)?;
        } else if metadata.is_file() && metadata.len() <= MAX_FILE_BYTES {
            // A running server may remove it.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !secrets.contains(text.trim_end()) {
                search(&path.display().to_string(), &text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_reported_once_for_its_test() {
        begin("the test");
        let secret = register("zq'7 \"x");
        for text in [
            format!("password {secret} is wrong"),
            "IDENTIFIED BY 'zq''7 \"x'".to_owned(),
            r"IDENTIFIED BY 'zq\'7 ".to_owned() + "\"x'",
            r#"{"password": "zq'7 \"x"}"#.to_owned(),
            "http://me:zq%277%20%22x@host/".to_owned(),
        ] {
            search("an output", &text);
            let leaks = leaks();
            assert!(!leaks.is_empty(), "{text}");
            assert!(leaks.iter().all(|leak| leak.contains("an output") && !leak.contains("zq")), "{leaks:?}");
        }
        search("an output", "a harmless text");
        assert_eq!(leaks(), Vec::<String>::new());
    }
}
