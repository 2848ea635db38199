//! `posthouse udf uninstall`: removal from every node of this machine.

use anyhow::ensure;
use clap::Args;

use super::on_this_machine;
use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::cluster::Cluster;
use crate::udf::{self, Removal};

pub(super) const HELP: &str = "\
Removes the functions' XML first (only one that posthouse wrote), and every node must report that the functions are
gone. Then removes the release folders (only those that hold posthouse-udf alone). Safe to repeat. The person index
(posthouse-persons beside them) stays: remove the folder once no posthouse run keeps it.

Examples:
  posthouse udf uninstall --dry-run    show the removals; exit code 3 if there are any
  posthouse udf uninstall";

#[derive(Debug, Args)]
pub(in crate::cli) struct Uninstall {
    /// Only show the removals; exit code 3 if there are any
    #[arg(long)]
    dry_run: bool,
}

impl Uninstall {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        ensure!(
            !cluster.config.looks_up_persons(),
            "views of events call the functions; no change was made: set persons.lookup = \"join\" in the config and run \
             posthouse schema apply first"
        );
        let here = on_this_machine(&cluster.all_nodes).await?;
        // All plans come before the first change, so that a foreign file stops the command before
        // any removal.
        let mut removals = Vec::new();
        for (node, files) in &here {
            removals.push(udf::plan_removal(node, files).await?);
        }
        if self.dry_run {
            output.print(&removals, |removals| text(removals, "changes to make"))?;
            return Ok(Outcome::differs_if(removals.iter().any(|removal| !removal.changes.is_empty())));
        }
        for ((node, _), removal) in here.iter().zip(&removals) {
            udf::remove_functions(node, removal).await?;
        }
        removals.iter().try_for_each(udf::remove_releases)?;
        output.print(&removals, |removals| text(removals, "changes made"))?;
        Ok(Outcome::Clean)
    }
}

fn text(removals: &[Removal], done: &str) -> String {
    let mut rows = vec![["node", "change"].map(str::to_owned).to_vec()];
    let mut left = String::new();
    for removal in removals {
        let row = |change: &dyn ToString| vec![removal.node.clone(), change.to_string()];
        rows.extend(removal.changes.iter().map(|change| row(change)));
        left.extend(removal.left.iter().map(|folder| {
            format!(
                "node {}: {} does not hold posthouse-udf alone, and stays\n",
                removal.node,
                folder.display()
            )
        }));
    }
    match rows.len() - 1 {
        0 => format!("{left}no functions of posthouse are installed: no changes"),
        changes => format!("{}{left}{done}: {changes}", table(&rows)),
    }
}

#[cfg(test)]
mod tests {
    use crate::udf::uninstall::UninstallStep;

    use super::*;

    #[test]
    fn changes_line_up_and_none_are_said_to_be_none() {
        let removal = |node: &str, changes: &[UninstallStep]| Removal {
            node: node.to_owned(),
            changes: changes.to_vec(),
            left: vec!["/scripts/posthouse-0.1.0-00000001".into()],
        };
        let changes =
            [UninstallStep::RemoveFunctions { path: "/f.xml".into() }, UninstallStep::ReloadFunctions];
        assert_eq!(
            text(&[removal("ch10", &changes)], "changes to make"),
            "\
node  change
ch10  remove /f.xml
ch10  reload functions
node ch10: /scripts/posthouse-0.1.0-00000001 does not hold posthouse-udf alone, and stays
changes to make: 2"
        );
        let nothing = text(&[removal("ch1", &[])], "changes made");
        assert!(nothing.ends_with("no functions of posthouse are installed: no changes"), "{nothing}");
    }
}
