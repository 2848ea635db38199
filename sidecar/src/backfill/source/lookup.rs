//! Lookup of local files by path, folder or glob.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::SourceError;
use super::local::{failed, object};
use super::markers::MarkerNames;
use super::pattern::Pattern;
use super::selection::{Reached, ReachedFile};
use super::walk;

/// Returns the files that a path names: the file itself, the files below a folder, or the matches
/// of a glob.
pub(super) fn expand(path: &Path, markers: Option<&MarkerNames>) -> Result<Reached, SourceError> {
    let text = path.to_string_lossy();
    let reached = match std::fs::metadata(path) {
        // An existing path wins over a glob of the same spelling.
        Ok(metadata) if metadata.is_dir() => walk::below(path, markers)?,
        Ok(metadata) if metadata.is_file() => {
            Reached { files: vec![file(path, &metadata)?], ..Reached::default() }
        }
        // A pipe would block the load, and could not be read twice.
        Ok(_) => {
            let problem = "it is neither a file nor a folder".to_owned();
            return Err(SourceError::Argument { argument: text.into_owned(), problem });
        }
        Err(_) if Pattern::is_glob(&text) => {
            let argument = |problem| SourceError::Argument { argument: text.clone().into_owned(), problem };
            let glob = Pattern::new(&text).map_err(argument)?;
            let base = if glob.base().is_empty() { "." } else { glob.base() };
            walk::matches(Path::new(base), &glob, markers)?
        }
        Err(error) => return Err(failed(path, error)),
    };
    if reached.files.is_empty() && reached.markers.is_empty() {
        let hint = "folders and globs match visible *.parquet files: name other files one by one";
        return Err(SourceError::nothing(text.into_owned(), hint, &reached.skipped));
    }
    Ok(reached)
}

/// Returns the file that an argument names.
fn file(path: &Path, metadata: &Metadata) -> Result<ReachedFile, SourceError> {
    let object = object(path, metadata)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = absolute.to_string_lossy().into_owned();
    Ok(ReachedFile { object, path, inode: Some((metadata.dev(), metadata.ino())) })
}
