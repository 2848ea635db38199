//! The cache of downloads, outside the checkout and shared by all stacks.
//!
//! A package is either complete or absent.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::packages::Package;
use super::progress::{Progress, Step};

/// Prefix of unfinished downloads. The next download removes leftovers of a killed start.
const PARTIAL: &str = ".partial-";

/// The folder that holds one folder per package.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$POSTHOUSE_CACHE`, else `$XDG_CACHE_HOME/posthouse`, else `~/.cache/posthouse`.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("POSTHOUSE_CACHE")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("posthouse")))
            .or_else(|| Some(env::home_dir()?.join(".cache/posthouse")))
            .context("no folder for downloads: set POSTHOUSE_CACHE")?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        // Absolute, because children get paths in it and run in other folders.
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    pub(crate) fn has(&self, package: &Package) -> bool {
        self.folder(package).is_dir()
    }

    /// The folder of a package, downloaded unless it exists.
    pub(crate) fn get(&self, package: &Package, progress: &Progress) -> anyhow::Result<PathBuf> {
        let folder = self.folder(package);
        if folder.is_dir() {
            return Ok(folder);
        }
        let step = progress.step(format!("downloading {}", package.title));
        let _turn = self.turn(&step)?;
        // Another start may have downloaded it during the wait.
        if !folder.is_dir() {
            self.download(package, &folder, &step)
                .with_context(|| format!("cannot get {} into {}", package.title, self.root.display()))?;
        }
        step.done();
        Ok(folder)
    }

    fn download(&self, package: &Package, folder: &Path, step: &Step) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.root)?.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(&self.root)?;
        let whole = partial.path().join("whole");
        fs::create_dir(&whole)?;
        (package.fetch)(partial.path(), &whole, step)?;
        if fs::read_dir(&whole)?.next().is_none() {
            bail!("the download is empty");
        }
        fs::rename(&whole, folder)?;
        Ok(())
    }

    /// Locks the cache, because one process downloads at a time.
    fn turn(&self, step: &Step) -> anyhow::Result<File> {
        let path = self.root.join(".lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            step.note("waiting for the download of another start");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    fn folder(&self, package: &Package) -> PathBuf {
        self.root.join(&package.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(fetch: fn(&Path, &Path, &Step) -> anyhow::Result<()>) -> Package {
        Package { title: "a package", folder: "package-1".into(), fetch }
    }

    #[test]
    fn half_a_download_is_never_used_and_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache { root: root.path().to_owned() };
        let broken = package(|_, whole, _| {
            fs::write(whole.join("first"), "1")?;
            bail!("the line broke")
        });
        assert!(cache.get(&broken, &Progress::Silent).is_err());
        assert!(!cache.has(&broken));

        let left = root.path().join(".partial-of-a-killed-start");
        fs::create_dir(&left).unwrap();
        let good = package(|_, whole, _| Ok(fs::write(whole.join("first"), "1")?));
        let folder = cache.get(&good, &Progress::Silent).unwrap();
        assert_eq!(fs::read_to_string(folder.join("first")).unwrap(), "1");
        assert!(!left.exists());
        assert!(cache.get(&broken, &Progress::Silent).is_ok(), "an existing package is not fetched again");
    }
}
