//! `posthouse topics import`: the topics file of a running cluster.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::super::Outcome;
use super::super::output::Output;
use crate::cluster::Cluster;
use crate::topics;

#[derive(Debug, Args)]
pub(in crate::cli) struct TopicsImport {
    /// Path of the file to write; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// JSON output of `topics import --output FILE`.
#[derive(Serialize)]
struct Written<'p> {
    written: &'p Path,
}

pub(super) async fn run(cluster: &Cluster, verb: &TopicsImport, output: Output) -> anyhow::Result<Outcome> {
    let text = topics::import(cluster.kafka()?).await?;
    match &verb.output {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            let mut file = made.with_context(|| format!("can't create {}", path.display()))?;
            file.write_all(text.as_bytes()).with_context(|| format!("can't write {}", path.display()))?;
            if output.json {
                output.print(&Written { written: path }, |_| String::new())?;
            }
        }
        None => {
            let table: toml::Table =
                toml::from_str(&text).context("the topics file is not TOML: please report this")?;
            output.print(&table, |_| text)?;
        }
    }
    Ok(Outcome::Clean)
}
