//! One object of history: location, identity and access.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;
use tokio::runtime::Handle;

use super::error::SourceError;
use super::stores::Remote;

/// One file, local or remote, with the metadata of its lookup. Cloning is cheap and shares the
/// connections.
#[derive(Clone)]
pub struct Object {
    /// The absolute path, or the address without user, password, query and fragment. Always the
    /// same for the same file.
    pub location: String,
    /// In bytes.
    pub size: u64,
    /// Time of the last write; whole seconds for remote objects, `None` if the server does not
    /// report it.
    pub modified: Option<Timestamp>,
    /// The store's own tag of these bytes, if it has one.
    pub etag: Option<String>,
    pub(super) access: Access,
}

/// Access to the bytes.
#[derive(Clone)]
pub(super) enum Access {
    Local(PathBuf),
    Remote { remote: Remote, path: Path },
}

/// Identity of an object, as text that can be stored and compared: ETag and size if the store gives
/// a tag, otherwise size and time of the last write.
///
/// The plan adds [`footer_hash`](super::footer_hash), because a local file can change within its
/// clock's tick.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Object {
    pub fn identity(&self) -> Identity {
        Identity(identity(self.size, self.modified, self.etag.as_deref()))
    }
}

impl Object {
    /// Reads all bytes of a small object.
    ///
    /// # Errors
    /// Fails if the object has changed, or can't be read.
    pub(crate) async fn read(&self) -> Result<Bytes, SourceError> {
        let (reader, size, location) = (self.open().await?, self.size, self.location.clone());
        let reading = Handle::current().spawn_blocking(move || {
            let bytes = if size == 0 { Bytes::new() } else { reader.within(0..size)? };
            reader.unchanged()?;
            Ok(bytes)
        });
        reading.await.map_err(|_| SourceError::Stopped { location })?
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the access, because a store holds keys.
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
        assert_eq!(tagged.to_string(), "etag \"x\", 3 bytes");
        assert_eq!(
            object(3, at(1), None).identity().to_string(),
            "3 bytes of 1970-01-01T00:00:01.000000005Z"
        );
        assert_eq!(object(3, at(2), Some("\"x\"")).identity(), tagged, "a copy with the same tag");
        for other in
            [object(3, at(1), Some("\"y\"")), object(4, at(1), Some("\"x\"")), object(3, at(1), None)]
        {
            assert_ne!(other.identity(), tagged);
        }
    }
}
