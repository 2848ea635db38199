//! Report of a failed command on stderr, as text or JSON.

use std::error::Error;
use std::ffi::OsStr;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::WRONG_CONFIG;
use super::logs::{LogFormat, has_colours};
use super::notices::{note, note_painted};
use super::output::Output;
use crate::backfill::map::MappingError;
use crate::config::{ConfigError, QuoteStyle, quote};
use crate::topics::SpecError;
use crate::visible::visible;

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

/// The last line of stderr with `--log-format json`. It looks like a log event, but no filter drops
/// it.
#[derive(Debug, Serialize)]
struct FailureEvent {
    timestamp: String,
    level: &'static str,
    message: String,
    exit_code: u8,
}

/// Writes the error of a command as the last line of stderr.
pub(super) fn report(error: &anyhow::Error, exit_code: u8, output: Output) {
    let line = match output {
        Output { json: true, .. } => {
            let causes = error.chain().skip(1).map(ToString::to_string).collect();
            as_json(ErrorReport { message: error.to_string(), causes, exit_code })
        }
        Output { logs: LogFormat::Json, .. } => as_event(error, exit_code),
        Output { logs: LogFormat::Text, .. } => {
            let style = if has_colours() { QuoteStyle::Coloured } else { QuoteStyle::Plain };
            return note_painted(format_args!("posthouse: {}", as_text(error, style)));
        }
    };
    note(line);
}

/// Joins the error and its causes, with quoted lines where a file has faults.
fn as_text(error: &anyhow::Error, style: QuoteStyle) -> String {
    let text = |cause: &(dyn Error + 'static)| {
        quoted(cause, style).unwrap_or_else(|| visible(&cause.to_string()).into_owned())
    };
    error.chain().map(text).collect::<Vec<_>>().join(": ")
}

fn quoted(cause: &(dyn Error + 'static), style: QuoteStyle) -> Option<String> {
    if let Some(ConfigError::Faulty { path, faults }) = cause.downcast_ref() {
        return Some(quote(path.as_deref(), faults, style));
    }
    if let Some(SpecError::Faulty { path, faults }) = cause.downcast_ref() {
        return Some(quote(Some(path), faults, style));
    }
    match cause.downcast_ref() {
        Some(MappingError::Faulty { path, faults }) => Some(quote(path.as_deref(), faults, style)),
        _ => None,
    }
}

fn as_event(error: &anyhow::Error, exit_code: u8) -> String {
    let (timestamp, message) = (Timestamp::now().to_string(), format!("{error:#}"));
    let event = FailureEvent { timestamp, level: "ERROR", message, exit_code };
    // Strings and numbers always have a JSON form.
    serde_json::to_string(&event).unwrap_or_default()
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
    fn quotes_the_faulty_line_of_a_cause() {
        let faulty = crate::config::Config::parse("replicated = 1", std::path::Path::new(""));
        let error = Err::<(), _>(faulty.expect_err("faults")).context("can't start").expect_err("one");
        let text = as_text(&error, QuoteStyle::Plain);
        assert!(text.starts_with("can't start: the configuration has 3 faults\n"), "{text}");
        assert!(text.contains("1 | replicated = 1\n  |              ^ give true or false"), "{text}");
        let event = as_event(&error, 2);
        assert!(
            event.contains("line 1: replicated = 1: give true or false") && !event.contains('|'),
            "{event}"
        );
    }

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
