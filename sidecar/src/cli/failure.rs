//! Report of a failed command on stderr, as text or JSON.

use std::ffi::OsStr;
use std::process::ExitCode;

use serde::Serialize;

use super::WRONG_CONFIG;
use super::notices::note;

/// The last line of stderr with `--json`.
#[derive(Debug, Serialize)]
struct Failure {
    error: ErrorReport,
}

#[derive(Debug, Serialize)]
struct ErrorReport {
    message: String,
    causes: Vec<String>,
    exit_code: u8,
}

/// Writes the error of a command as the last line of stderr.
pub(super) fn report(error: &anyhow::Error, exit_code: u8, json: bool) {
    let line = if json {
        let causes = error.chain().skip(1).map(ToString::to_string).collect();
        as_json(ErrorReport { message: error.to_string(), causes, exit_code })
    } else {
        format!("posthouse: {error:#}")
    };
    note(line);
}

/// Reports an invalid command line, or prints the requested help or version.
pub(crate) fn wrong_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !wants_json() {
        error.exit();
    }
    let text = error.to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
    let line = as_json(ErrorReport { message, causes: Vec::new(), exit_code: WRONG_CONFIG });
    note(line);
    ExitCode::from(WRONG_CONFIG)
}

/// Whether `--json` is among the options of a command line that could not be parsed.
fn wants_json() -> bool {
    std::env::args_os()
        .skip(1)
        .take_while(|argument| argument != OsStr::new("--"))
        .any(|argument| argument == "--json")
}

fn as_json(error: ErrorReport) -> String {
    // Strings and numbers always have a JSON form.
    serde_json::to_string(&Failure { error }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_causes() {
        let error = Err::<(), _>(anyhow::anyhow!("refused\nby the server"))
            .context("can't connect")
            .expect_err("one");
        let causes = error.chain().skip(1).map(ToString::to_string).collect();
        let line = as_json(ErrorReport { message: error.to_string(), causes, exit_code: 1 });
        assert_eq!(
            line,
            r#"{"error":{"message":"can't connect","causes":["refused\nby the server"],"exit_code":1}}"#
        );
    }
}
