//! Tests of lookup, reads and change detection of local files.

use std::fs;
use std::time::{Duration, SystemTime};

use parquet::file::reader::{ChunkReader, Length};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::lookup::expand;
use super::super::{ObjectReader, Sources};
use super::*;

/// A folder of files, each with its size.
fn folder(files: &[(&str, usize)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, size) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, vec![b'x'; *size]).expect("a file");
    }
    folder
}

async fn found(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<Vec<String>, SourceError> {
    let arguments: Vec<_> =
        arguments.iter().map(|name| folder.path().join(name).to_str().expect("UTF-8").to_owned()).collect();
    let root = folder.path().canonicalize().expect("a folder");
    let objects = Sources::default().expand(&arguments).await?;
    let below =
        |object: &Object| Path::new(&object.location).strip_prefix(&root).map(|p| p.display().to_string());
    Ok(objects.iter().map(|object| below(object).expect("a path below the root")).collect())
}

#[tokio::test]
async fn files_folders_and_globs_are_found_sorted_and_once() {
    let folder = folder(&[
        ("b.parquet", 5),
        ("a.parquet", 5),
        ("y=1/m=2/c.parquet", 5),
        ("y=1/manifest.json", 5),
        ("y=1/_SUCCESS", 0),
        ("y=2/.d.parquet.crc", 5),
        ("y=2/empty.parquet", 0),
        ("y[3]/e.parquet", 5),
        ("notes.txt", 5),
    ]);
    let all = ["a.parquet", "b.parquet", "y=1/m=2/c.parquet", "y=2/empty.parquet", "y[3]/e.parquet"];
    for (arguments, expected) in [
        (&[""][..], &all[..]),
        (&["*.parquet", "a.parquet", "."], &all),
        (&["y=*"], &["y=1/m=2/c.parquet", "y=2/empty.parquet"]),
        (&["**/c.parquet"], &["y=1/m=2/c.parquet"]),
        (&["y[3]"], &["y[3]/e.parquet"]),
        (&["y=1/manifest.json", "notes.txt"], &["notes.txt", "y=1/manifest.json"]),
        (&["n*"], &["notes.txt"]),
    ] {
        assert_eq!(found(&folder, arguments).await.expect("files"), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let folder = folder(&[("only/manifest.json", 5)]);
    for (argument, hint) in [
        ("gone.parquet", "check that it exists"),
        ("only", "names no Parquet file"),
        ("only/*.parquet", "names no Parquet file"),
        ("gone/*.parquet", "check that it exists"),
        ("only/[", "invalid pattern"),
        ("/dev/null", "neither a file nor a folder"),
    ] {
        let error = found(&folder, &[argument]).await.expect_err(argument).to_string();
        assert!(error.contains(hint) && error.contains(argument.trim_end_matches("/*.parquet")), "{error}");
    }
}

#[tokio::test]
async fn links_are_followed_and_circles_end() {
    let folder = folder(&[("data/a.parquet", 5)]);
    std::os::unix::fs::symlink("..", folder.path().join("data/up")).expect("a link");
    std::os::unix::fs::symlink("data/a.parquet", folder.path().join("b.parquet")).expect("a link");
    std::os::unix::fs::symlink("nowhere", folder.path().join("c.parquet")).expect("a link");
    assert_eq!(found(&folder, &["", "b.parquet"]).await.expect("files"), ["data/a.parquet"]);
}

async fn skipped(folder: &tempfile::TempDir, argument: &str) -> (usize, String) {
    let argument = folder.path().join(argument).to_str().expect("UTF-8").to_owned();
    let selection = Sources::default().select(&[argument]).await.expect("files");
    let texts: Vec<String> = selection.skipped.iter().map(ToString::to_string).collect();
    let root = format!("{}/", folder.path().to_str().expect("UTF-8"));
    (selection.objects.len(), texts.join("; ").replace(&root, ""))
}

#[tokio::test]
async fn a_link_beside_a_folder_hides_none_of_its_files() {
    // The order in which a folder lists its entries must not matter.
    let folder = folder(&[("d5/part.parquet", 5), ("d6/part.parquet", 5), ("d7/part.parquet", 5)]);
    for (link, target) in [("latest", "d7"), ("0-oldest", "d5"), ("d", "d6")] {
        std::os::unix::fs::symlink(target, folder.path().join(link)).expect("a link");
    }
    let all = ["d5/part.parquet", "d6/part.parquet", "d7/part.parquet"];
    for glob in ["d[0-9]/*.parquet", "*/*.parquet", "**/part.parquet", "", "d?"] {
        assert_eq!(found(&folder, &[glob]).await.expect("files"), all, "{glob}");
    }
    assert_eq!(found(&folder, &["latest/*"]).await.expect("files"), all[2..]);
    assert_eq!(skipped(&folder, "d?/*").await, (3, String::new()));
    let linked = "linked to a file that is read: 0-oldest/part.parquet, d/part.parquet, latest/part.parquet";
    assert_eq!(skipped(&folder, "*/*.parquet").await, (3, format!("3 {linked}")));
    let (_, folders) = skipped(&folder, "").await;
    for link in ["0-oldest/", "d/", "latest/"] {
        assert!(folders.starts_with("3 linked") && folders.contains(link), "{folders}");
    }
}

#[tokio::test]
async fn a_hard_link_is_the_same_file() {
    let folder = folder(&[("a.parquet", 5), ("c.parquet", 5)]);
    fs::hard_link(folder.path().join("a.parquet"), folder.path().join("b.parquet")).expect("a link");
    assert_eq!(found(&folder, &["*.parquet"]).await.expect("files"), ["a.parquet", "c.parquet"]);
    assert_eq!(skipped(&folder, "").await, (2, "1 linked to a file that is read: b.parquet".to_owned()));
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let folder = folder(&[
        ("a.parq", 5),
        ("a.csv", 5),
        ("_SUCCESS", 0),
        ("_temporary/0/a.parquet", 5),
        ("_temporary/1/a.parquet", 5),
        ("m/manifest.json", 5),
        ("m/empty", 0),
        ("m/quarantine/0a/1b.parquet", 5),
    ]);
    std::os::unix::fs::symlink("nowhere", folder.path().join("b.parquet")).expect("a link");
    let all = "1 linked to nothing: b.parquet; 1 not named *.parquet: a.csv; 2 hidden: _SUCCESS, _temporary/; \
               1 manifest: m/manifest.json; 1 empty: m/empty; 1 of rejected rows: m/quarantine/";
    assert_eq!(skipped(&folder, "").await, (1, all.to_owned()));
    assert_eq!(skipped(&folder, "**").await, (2, all.replace("1 not named *.parquet: a.csv; ", "")));
    assert_eq!(skipped(&folder, "*.parq").await, (1, String::new()));
    assert_eq!(found(&folder, &["m/quarantine"]).await.expect("files"), ["m/quarantine/0a/1b.parquet"]);
    let error = found(&folder, &["*/*"]).await.expect_err("no data").to_string();
    assert!(error.contains("left out: ") && error.contains("m/manifest.json"), "{error}");
}

async fn open(path: &Path) -> Result<ObjectReader, SourceError> {
    expand(path, None)?.files[0].object.open().await
}

#[tokio::test]
async fn any_range_is_that_of_the_file_also_when_ranges_are_read_in_turns() {
    let seed = rand::random();
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = folder(&[]);
    let path = folder.path().join("a.parquet");
    let bytes: Vec<u8> = (0..100_000).map(|_| random.random()).collect();
    fs::write(&path, &bytes).expect("a file");
    let reader = open(&path).await.expect("a reader");
    assert_eq!(reader.len(), 100_000);
    let mut ranges: Vec<_> =
        (0..5).map(|i| (i * 20_000, reader.get_read(i * 20_000).expect("a range"))).collect();
    for _ in 0..500 {
        let start = random.random_range(0..=100_000);
        let length = random.random_range(0..=100_000 - start);
        let read = reader.get_bytes(start as u64, length).expect("bytes");
        assert_eq!(read, bytes[start..start + length]);
        let turn = random.random_range(0..ranges.len());
        let (position, range) = &mut ranges[turn];
        let mut piece = vec![0; random.random_range(0..3_000)];
        let read = range.read(&mut piece).expect("bytes");
        assert_eq!(piece[..read], bytes[*position as usize..][..read]);
        *position += read as u64;
    }
    for (start, length) in [(0, 100_001), (100_000, 1), (u64::MAX, usize::MAX), (100_001, 0)] {
        let error = reader.get_bytes(start, length).expect_err("beyond the end").to_string();
        assert!(error.contains("a.parquet has 100000 bytes"), "{error}");
    }
    assert!(reader.get_read(100_001).is_err());
}

#[tokio::test]
async fn a_file_that_changes_is_refused_before_and_while_it_is_read() {
    let folder = folder(&[("a.parquet", 50_000)]);
    let path = folder.path().join("a.parquet");
    let object = expand(&path, None).expect("a file").files.remove(0).object;
    let later = |path: &Path| {
        let file = fs::File::options().append(true).open(path).expect("a file");
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).expect("a time");
    };
    let changed = |result: Result<(), SourceError>| matches!(result, Err(SourceError::Changed { .. }));

    // Written to, at the same size.
    let reader = object.open().await.expect("a reader");
    reader.unchanged().expect("nothing happened");
    later(&path);
    assert!(changed(reader.unchanged()) && changed(object.open().await.map(drop)));

    // Replaced by another file with the same name.
    let reader = open(&path).await.expect("a reader");
    fs::write(folder.path().join("new"), "y").expect("a file");
    fs::rename(folder.path().join("new"), &path).expect("renamed");
    assert!(changed(reader.unchanged()));

    // Truncated during a read.
    fs::write(&path, [1; 50_000]).expect("a file");
    let reader = open(&path).await.expect("a reader");
    let mut range = reader.get_read(20_000).expect("a range");
    fs::File::options().write(true).open(&path).expect("a file").set_len(10).expect("cut");
    let error = range.read_to_end(&mut Vec::new()).expect_err("too short");
    assert!(matches!(SourceError::behind(&error), Some(SourceError::Changed { .. })), "{error}");
    let error = reader.get_bytes(0, 50_000).expect_err("too short");
    assert!(matches!(SourceError::behind(&error), Some(SourceError::Changed { .. })), "{error}");

    // Deleted.
    fs::remove_file(&path).expect("removed");
    assert!(matches!(reader.unchanged(), Err(SourceError::File { .. })));
}
