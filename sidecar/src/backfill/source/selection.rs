//! Objects that the arguments select, each once, and the files that they leave out.

use std::collections::HashSet;

use super::object::Object;
use super::skipped::{SkipReason, Skipped, SkippedFiles};

/// Result of a lookup.
#[derive(Debug)]
pub struct Selection {
    /// Sorted by location, each once.
    pub objects: Vec<Object>,
    /// Files that a folder or a glob reaches and leaves out, by reason.
    pub skipped: Vec<Skipped>,
    /// Files with the names of markers, sorted by location, each once.
    pub markers: Vec<Object>,
}

/// Files that one argument reaches.
#[derive(Debug, Default)]
pub(super) struct Reached {
    pub(super) files: Vec<ReachedFile>,
    pub(super) skipped: SkippedFiles,
    pub(super) markers: Vec<Object>,
}

/// A file by one of its paths.
#[derive(Debug)]
pub(super) struct ReachedFile {
    pub(super) object: Object,
    /// Differs from the object's location if a link leads to the file.
    pub(super) path: String,
    /// Device and inode of a local file.
    pub(super) inode: Option<(u64, u64)>,
}

impl Reached {
    /// Adds an object under its only name.
    pub(super) fn add(&mut self, object: Object) {
        self.files.push(ReachedFile { path: object.location.clone(), object, inode: None });
    }
}

/// Joins the files of all arguments. Of several paths of one file the real path has precedence; of
/// several hard links, the first.
pub(super) fn select(all: Vec<Reached>) -> Selection {
    let (mut files, mut skipped, mut markers) = (Vec::new(), SkippedFiles::default(), Vec::<Object>::new());
    for reached in all {
        files.extend(reached.files);
        skipped.extend(reached.skipped);
        markers.extend(reached.markers);
    }
    markers.sort_by(|one, other| one.location.cmp(&other.location));
    markers.dedup_by(|one, other| one.location == other.location);
    // Keys that sort the real path before the links to it.
    files.sort_by(|one, other| {
        let key = |file: &ReachedFile| file.path != file.object.location;
        let locations = one.object.location.cmp(&other.object.location);
        locations.then_with(|| key(one).cmp(&key(other))).then_with(|| one.path.cmp(&other.path))
    });
    let (mut objects, mut inodes) = (Vec::<Object>::new(), HashSet::new());
    let mut last = String::new();
    for ReachedFile { object, path, inode } in files {
        let is_same = objects.last().is_some_and(|before| before.location == object.location);
        // With size and time, because a file system may give an inode to another file later.
        if !is_same && inode.is_none_or(|inode| inodes.insert((inode, object.size, object.modified))) {
            objects.push(object);
        } else if !is_same || path != last {
            // Otherwise two arguments have the same path.
            skipped.add(SkipReason::Link, &path);
        }
        last = path;
    }
    Selection { objects, skipped: skipped.into_vec(), markers }
}
