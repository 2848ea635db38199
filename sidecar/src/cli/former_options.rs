//! Warnings about former names of options.

use std::ffi::OsString;

/// Former names, which clap takes as aliases until version 1.0, each with its new name.
const FORMER: &[(&str, &str)] = &[("--again", "--allow-reload"), ("--split", "--partition")];

/// Logs a warning for each argument that is a former name.
pub(super) fn warn(arguments: impl Iterator<Item = OsString>) {
    for (old, new) in used(arguments) {
        tracing::warn!("{old} is now {new}: write {new}");
    }
}

fn used(arguments: impl Iterator<Item = OsString>) -> Vec<(&'static str, &'static str)> {
    let given: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let is_used = |old: &str| given.iter().any(|given| given.split('=').next() == Some(old));
    FORMER.iter().copied().filter(|(old, _)| is_used(old)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn former_names_are_read_and_reported() {
        for former in [&["--again"][..], &["--split", "1/2"], &["--split=1/2"]] {
            let line =
                [&["posthouse", "backfill", "plan", "a.parquet", "--mapping", "identity"], former].concat();
            assert!(Arguments::try_parse_from(&line).is_ok(), "{line:?}");
            assert_eq!(used(line.iter().map(OsString::from)).len(), 1, "{line:?}");
        }
    }
}
