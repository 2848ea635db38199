//! `posthouse udf install`: installation on every node of this machine.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::on_this_machine;
use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::node::Node;
use crate::udf::release::PROGRAM;
use crate::udf::{self, FileState, Installed, Release};

pub(super) const HELP: &str = "\
The program goes to USER_SCRIPTS/posthouse-VERSION-CHECKSUM/, so that a running one is never overwritten; the XML
is replaced in one step, the node reloads it, and its answers are compared with its own sipHash64.
Nodes follow one after the other, and the first failure ends the command. Safe to repeat. The previous release is kept
for a rollback; older ones are removed when all nodes have the new one.

Examples:
  posthouse udf install
  posthouse udf install --binary target/release/posthouse-udf";

#[derive(Debug, Args)]
pub(in crate::cli) struct Install {
    /// Path of the program to install [default: posthouse-udf beside posthouse]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Install {
    pub(super) async fn run(&self, nodes: &[Node], output: Output) -> anyhow::Result<Outcome> {
        let release = Release::read(&self.program()?)?;
        release.try_out().await?;
        let here = on_this_machine(nodes).await?;
        let mut installed = Vec::new();
        for (node, files) in &here {
            installed.push(udf::install(node, files, &release).await?);
        }
        let disks: Vec<_> = here.iter().map(|(_, files)| files).collect();
        udf::prune(&disks, &release, &mut installed)?;
        output.print(&installed, |installed| installed_text(installed))?;
        Ok(Outcome::Clean)
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.binary {
            return Ok(path.clone());
        }
        let posthouse = std::env::current_exe().context("can't find the path of posthouse: give --binary")?;
        Ok(posthouse.with_file_name(PROGRAM))
    }
}

fn installed_text(installed: &[Installed]) -> String {
    let state = |state| match state {
        FileState::Written => "written".to_owned(),
        FileState::Unchanged => "unchanged".to_owned(),
    };
    let mut rows = vec![["node", "program", "functions", "release"].map(str::to_owned).to_vec()];
    rows.extend(installed.iter().map(|done| {
        vec![done.node.clone(), state(done.program), state(done.functions), done.release.clone()]
    }));
    if installed.iter().any(|done| !done.removed.is_empty()) {
        let removed = installed.iter().map(|done| done.removed.join(", "));
        for (row, cell) in rows.iter_mut().zip(std::iter::once("removed".to_owned()).chain(removed)) {
            row.push(cell);
        }
    }
    table(&rows)
}
