//! One object of history: where it is, what it is known by, and whether it still is what it was.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use object_store::path::Path;

use super::error::SourceError;
use super::stores::Remote;

/// One file, local or remote, as it was found. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Object {
    /// The absolute path, or the address without user, password, query and fragment. The same file always has the
    /// same.
    pub location: String,
    /// Bytes.
    pub size: u64,
    /// When it was written; whole seconds for remote objects, `None` where the server does not say.
    pub modified: Option<Timestamp>,
    /// The store's own tag of these bytes, where it gives one.
    pub etag: Option<String>,
    pub(super) access: Access,
}

/// How the bytes are reached.
#[derive(Clone)]
pub(super) enum Access {
    Local(PathBuf),
    Remote { remote: Remote, path: Path },
}

/// What an object is known by, as text that can be stored and compared: its ETag and size where the store gives a
/// tag, otherwise its size and when it was written.
///
/// Whoever plans adds [`footer_hash`](super::footer_hash), since a local file can change within its clock's tick.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// An identity that was stored.
    pub fn recorded(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Object {
    /// What the object is known by.
    pub fn identity(&self) -> Identity {
        Identity(identity(self.size, self.modified, self.etag.as_deref()))
    }

    /// Whether this is the object that was recorded.
    ///
    /// # Errors
    /// [`SourceError::Changed`] with both identities.
    pub fn still_is(&self, recorded: &Identity) -> Result<(), SourceError> {
        let found = self.identity();
        if found == *recorded { Ok(()) } else { Err(changed(&self.location, recorded, &found)) }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not how it is reached: a store holds keys.
        f.debug_struct("Object")
            .field("location", &self.location)
            .field("identity", &self.identity().0)
            .finish_non_exhaustive()
    }
}

pub(super) fn identity(size: u64, modified: Option<Timestamp>, etag: Option<&str>) -> String {
    match (etag, modified) {
        (Some(etag), _) => format!("etag {etag}, {size} bytes"),
        (None, Some(modified)) => format!("{size} bytes of {modified}"),
        (None, None) => format!("{size} bytes"),
    }
}

pub(super) fn changed(location: &str, recorded: impl fmt::Display, found: impl fmt::Display) -> SourceError {
    let (recorded, found) = (recorded.to_string(), found.to_string());
    SourceError::Changed { location: location.to_owned(), recorded, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_by_its_tag_or_else_by_size_and_time() {
        let at = |second| Timestamp::new(second, 5).ok();
        let object = |size, modified, etag: Option<&str>| Object {
            location: "a".into(),
            size,
            modified,
            etag: etag.map(str::to_owned),
            access: Access::Local("a".into()),
        };
        let tagged = object(3, at(1), Some("\"x\"")).identity();
        assert_eq!(tagged.as_str(), "etag \"x\", 3 bytes");
        assert_eq!(object(3, at(1), None).identity().as_str(), "3 bytes of 1970-01-01T00:00:01.000000005Z");
        object(3, at(2), Some("\"x\"")).still_is(&tagged).expect("a copy with the same tag");
        for other in
            [object(3, at(1), Some("\"y\"")), object(4, at(1), Some("\"x\"")), object(3, at(1), None)]
        {
            let error = other.still_is(&Identity::recorded(tagged.as_str())).expect_err("another object");
            assert!(error.to_string().contains("plan again"), "{error}");
        }
    }
}
