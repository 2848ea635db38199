//! A benchmark's figures: as a table for people, as JSON for whoever compares runs.

use std::path::Path;

use serde::Serialize;

/// Figures whose names begin so.
pub(crate) struct Wanted(pub(crate) String);

impl Wanted {
    pub(crate) fn has(&self, figure: &str) -> bool {
        figure.starts_with(&self.0)
    }
}

/// One comparison. Times are seconds, medians of `runs` unless `what` says otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name, and that of its file.
    pub(crate) name: String,
    /// What is measured against what.
    pub(crate) what: String,
    /// Ours.
    pub(crate) ours_s: f64,
    /// The peer's.
    pub(crate) peer_s: f64,
    /// The peer's time divided by ours: above 1 ours is faster.
    pub(crate) ratio: f64,
    /// Rows that went through.
    pub(crate) rows: u64,
    /// Runs of each.
    pub(crate) runs: usize,
    /// What bounds it.
    pub(crate) limit: String,
    /// Further figures, by name.
    pub(crate) details: serde_json::Value,
}

impl Report {
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self)?;
        Ok(std::fs::write(folder.join(format!("{}.json", self.name)), text + "\n")?)
    }
}

pub(crate) fn print(reports: &[Report]) {
    let width = reports.iter().map(|report| report.name.len()).max().unwrap_or_default();
    println!("\n{:<width$} {:>9} {:>9} {:>7} {:>9} {:>5}", "", "ours s", "peer s", "ratio", "rows", "runs");
    for report in reports {
        println!(
            "{:<width$} {:>9.3} {:>9.3} {:>7.2} {:>9} {:>5}",
            report.name, report.ours_s, report.peer_s, report.ratio, report.rows, report.runs
        );
    }
    for report in reports {
        println!("\n{}: {}\n  limit: {}\n  {}", report.name, report.what, report.limit, report.details);
    }
}

/// The middle of some measurements.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
