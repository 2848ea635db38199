//! Selection of releases that an install may remove.

use std::fs;
use std::path::Path;

use super::folders::ReleaseFolder;
use super::loaded::LoadedFunction;

/// Groups the indexes of `folders` by real folder, because links can give a folder several names.
pub(super) fn by_folder(folders: &[&Path]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(_, Vec<usize>)> = Vec::new();
    for (place, folder) in folders.iter().enumerate() {
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        match groups.iter_mut().find(|(known, _)| *known == real) {
            Some((_, places)) => places.push(place),
            None => groups.push((real, vec![place])),
        }
    }
    groups.into_iter().map(|(_, places)| places).collect()
}

/// Folders that are no longer needed once `current` runs.
///
/// The previous release is kept for a rollback, and because queries that started with it may still
/// start its processes. It is the release that the functions ran `before` the install, or else the
/// newest other one. Releases that functions run `now` are always kept. All releases are kept if a
/// node can't report its commands.
pub(super) fn superseded<'f>(
    found: &'f [ReleaseFolder],
    current: &str,
    before: &[LoadedFunction],
    now: &[LoadedFunction],
) -> Vec<&'f ReleaseFolder> {
    if now.iter().any(|function| function.command.is_none()) {
        return Vec::new();
    }
    let runs = |functions: &[LoadedFunction], folder: &ReleaseFolder| {
        functions.iter().any(|function| function.release() == Some(&folder.name))
    };
    let others = || found.iter().filter(|folder| folder.name != current);
    let mut previous: Vec<_> = others().filter(|folder| runs(before, folder)).collect();
    if previous.is_empty() {
        previous.extend(others().max_by_key(|folder| folder.written));
    }
    others().filter(|folder| !previous.contains(folder) && !runs(now, folder)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// The release number `n`, written in minute `n`.
    fn folder(n: u32) -> ReleaseFolder {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * u64::from(n));
        ReleaseFolder { name: name(n), path: name(n).into(), written }
    }

    fn name(n: u32) -> String {
        format!("posthouse-0.1.0-{n:08x}")
    }

    fn running(releases: &[u32]) -> Vec<LoadedFunction> {
        let function = |n: &u32| LoadedFunction {
            name: "shardKey".to_owned(),
            command: Some(format!("{}/posthouse-udf shardKey", name(*n))),
            problem: String::new(),
        };
        releases.iter().map(function).collect()
    }

    fn removed(found: &[u32], current: u32, before: &[u32], now: &[u32]) -> Vec<String> {
        let found: Vec<_> = found.iter().copied().map(folder).collect();
        let removed = superseded(&found, &name(current), &running(before), &running(now));
        removed.into_iter().map(|folder| folder.name.clone()).collect()
    }

    #[test]
    fn what_ran_before_stays_and_older_ones_go() {
        assert_eq!(removed(&[3, 2, 1], 3, &[2], &[3]), [name(1)]);
        // A rollback followed by an upgrade: keeps the release that ran, not the newest other one.
        assert_eq!(removed(&[3, 2, 1], 3, &[1], &[3]), [name(2)]);
        // A rollback to an older release.
        assert_eq!(removed(&[3, 2, 1], 1, &[3], &[1]), [name(2)]);
    }

    #[test]
    fn without_one_that_ran_before_the_newest_other_one_stays() {
        for before in [&[][..], &[3], &[9]] {
            assert_eq!(removed(&[3, 2, 1], 3, before, &[3]), [name(1)], "{before:?}");
        }
        for found in [&[][..], &[3], &[3, 2]] {
            assert!(removed(found, 3, &[], &[3]).is_empty(), "{found:?}");
        }
    }

    #[test]
    fn one_folder_under_two_names_is_one() {
        let disk = tempfile::tempdir().expect("a folder");
        let (real, link, other) =
            (disk.path().join("real"), disk.path().join("link"), disk.path().join("other"));
        fs::create_dir(&real).expect("a folder");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let groups = by_folder(&[&real, &other, &link, &other]);
        assert_eq!(groups, [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn what_several_nodes_ran_before_stays() {
        assert_eq!(removed(&[4, 3, 2, 1], 4, &[3, 1], &[4, 4]), [name(2)]);
    }

    #[test]
    fn what_a_function_names_now_is_never_removed() {
        assert_eq!(removed(&[4, 3, 2, 1], 4, &[3], &[4, 1]), [name(2)]);
        let unknown = [LoadedFunction { name: "shardKey".to_owned(), command: None, problem: String::new() }];
        let found = [folder(3), folder(2), folder(1)];
        assert!(superseded(&found, &name(3), &[], &unknown).is_empty());
    }
}
