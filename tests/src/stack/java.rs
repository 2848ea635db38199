//! How the two servers that run on Java are started: heap, class path, and a log that says when.

use std::path::Path;
use std::process::Command;

/// A JVM with `heap_mib` at most and all jars of a folder; the main class and its arguments are to follow.
pub(crate) fn java(jars: &Path, heap_mib: u32) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        .arg("-Djava.awt.headless=true")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS")
        .arg("-cp")
        .arg(jars.join("*"));
    command
}
