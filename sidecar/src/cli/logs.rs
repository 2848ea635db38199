//! Format and filter of logs.

use std::fmt;
use std::io::{IsTerminal, stderr};

use clap::{ArgAction, Args, ValueEnum};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::notices::{JsonLog, Log};
use crate::visible::visible_line;

const QUIET: &str = "warn";
const NORMAL: &str = "info";
const VERBOSE: &str = "info,posthouse=debug";
const MOST_VERBOSE: &str = "debug,posthouse=trace";

/// Global options of the logs on stderr. `RUST_LOG` replaces their filter.
#[derive(Debug, Args)]
pub(super) struct LogOptions {
    /// Format of the logs: text, or one JSON object per line; also set by POSTHOUSE_LOG_FORMAT
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "POSTHOUSE_LOG_FORMAT",
        hide_env = true,
        default_value = "text"
    )]
    pub(super) log_format: LogFormat,

    /// Log posthouse's debug events; twice, also its trace events and its libraries' debug events
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    #[value(help = "Lines for people")]
    Text,
    #[value(help = "Lines for Loki, Elasticsearch and the like")]
    Json,
}

impl LogOptions {
    fn filter(&self) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => QUIET,
            (false, 0) => NORMAL,
            (false, 1) => VERBOSE,
            (false, _) => MOST_VERBOSE,
        }
    }

    /// Starts the logs of the process.
    pub(super) fn start(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(self.filter()));
        let logs = tracing_subscriber::fmt().with_env_filter(filter);
        match self.log_format {
            LogFormat::Text => {
                let logs = logs.with_writer(|| Log).with_ansi(has_colours()).with_target(false);
                logs.fmt_fields(debug_fn(write_field).delimited(" ")).init();
            }
            LogFormat::Json => {
                logs.with_writer(|| JsonLog).with_ansi(false).json().flatten_event(true).init();
            }
        }
    }
}

/// Writes a field on one line, with visible control characters. So an event has exactly one line.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    // The name of a raw identifier.
    let (value, name) = (visible_line(&value), field.name().trim_start_matches("r#"));
    match (name, writer.has_ansi_escapes()) {
        ("message", _) => write!(writer, "{value}"),
        (_, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        (_, false) => write!(writer, "{name}={value}"),
    }
}

/// Whether stderr is a terminal that shows colours, and `NO_COLOR` is unset.
pub(super) fn has_colours() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() && !is_dumb
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    fn parse(options: &[&str]) -> Result<LogOptions, clap::Error> {
        Arguments::try_parse_from([&["posthouse", "run"], options].concat()).map(|arguments| arguments.logs)
    }

    #[test]
    fn every_level_has_a_valid_filter() {
        for (options, filter) in
            [(&[][..], NORMAL), (&["-q"], QUIET), (&["-v"], VERBOSE), (&["-vvv"], MOST_VERBOSE)]
        {
            assert_eq!(parse(options).expect("valid options").filter(), filter);
            assert!(EnvFilter::try_new(filter).is_ok(), "{filter}");
        }
        assert!(parse(&["-q", "-v"]).is_err());
    }

    #[test]
    fn format_is_an_option() {
        let options = parse(&["--log-format", "json"]).expect("a format");
        assert_eq!(options.log_format, LogFormat::Json);
        assert!(parse(&["--log-format", "xml"]).is_err());
    }
}
