//! An older version of the engine, run as `clickhouse local` per query.
//!
//! This version can't listen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use minijinja::context;
use tempfile::TempDir;

use super::cache::Cache;
use super::progress::Progress;
use super::{engine, machine, packages, process, template};

/// For one query. The longest moves some hundred megabytes through a debug build of a function.
const QUERY_LIMIT: Duration = Duration::from_secs(120);

/// The engine with a separate folder for functions.
#[derive(Debug)]
pub struct LocalEngine {
    launcher: PathBuf,
    library: PathBuf,
    folder: TempDir,
}

impl LocalEngine {
    /// Finds or downloads it and writes its configuration. Returns None if no engine is pinned for
    /// this platform.
    ///
    /// # Errors
    /// If a tool for the download or the launcher is missing, or the download fails.
    pub fn older(progress: &Progress) -> anyhow::Result<Option<Self>> {
        if packages::engine().is_err() {
            return Ok(None);
        }
        let (cache, package) = (Cache::open()?, packages::older_engine());
        if !cache.has(&package) {
            machine::check(&[machine::NPM, machine::TAR])?;
        }
        let library = cache.get(&package, progress)?.join("libchdb.so");
        let folder = tempfile::tempdir()?;
        for name in ["data", "functions", "user_scripts"] {
            fs::create_dir(folder.path().join(name))?;
        }
        let dir = folder.path().to_str().context("the folder for temporary files is not UTF-8")?;
        let xml = include_str!("../../fixtures/stack/local.xml");
        template::write(&folder.path().join("config.xml"), xml, context! { dir })?;
        Ok(Some(Self { launcher: engine::launcher()?, library, folder }))
    }

    /// The folder of executables that functions may run.
    pub fn user_scripts(&self) -> PathBuf {
        self.folder.path().join("user_scripts")
    }

    /// A file that declares functions. It does not exist at first.
    pub fn functions_xml(&self) -> PathBuf {
        self.folder.path().join("functions/posthouse_functions.xml")
    }

    /// Runs one query. Returns its result, tab-separated, without the last line break.
    ///
    /// # Errors
    /// If the engine refuses it, with the engine's text.
    pub fn query(&self, sql: &str) -> anyhow::Result<String> {
        let file = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(&self.launcher);
        command.env("POSTHOUSE_LIBCHDB", &self.library).env("TZ", "UTC").current_dir(self.folder.path());
        command.arg("--config-file").arg(file("config.xml")).args(["--query", sql]);
        let output: &Path = &file("output.log");
        process::run(command, output, QUERY_LIMIT, || ()).with_context(|| sql.to_owned())?;
        let answer = fs::read_to_string(output)?.trim_end_matches('\n').to_owned();
        // This version prints errors to its output.
        ensure!(!answer.contains("DB::Exception"), "{answer}");
        Ok(answer)
    }
}
