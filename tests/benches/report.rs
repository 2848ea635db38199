//! Benchmark figures as a table and as JSON.

use std::path::Path;

use serde::Serialize;

/// Prefix of the selected figures' names.
pub(crate) struct Wanted(pub(crate) String);

impl Wanted {
    pub(crate) fn has(&self, figure: &str) -> bool {
        figure.starts_with(&self.0)
    }
}

/// One comparison. Times are in seconds: medians of `runs` unless `what` says otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Name of the figure and of its file.
    pub(crate) name: String,
    /// The measured operation and its peer.
    pub(crate) what: String,
    pub(crate) ours_s: f64,
    pub(crate) peer_s: f64,
    /// The peer's time divided by ours: above 1 ours is faster.
    pub(crate) ratio: f64,
    /// Rows processed.
    pub(crate) rows: u64,
    /// Number of runs per side.
    pub(crate) runs: usize,
    /// The bottleneck.
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

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
