//! How the two servers that run on Java are started: heap, class path, and a log that says when.

use std::path::Path;
use std::process::Command;

/// Compile fast rather than well: a third less work for what runs a second, or has little to do.
pub(crate) const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// A JVM with `heap_mib` at most and all jars of a folder; the main class and its arguments are to follow.
pub(crate) fn java(jars: &Path, heap_mib: u32) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        // A small heap on a machine full of other servers: one collector thread, and only when it is needed.
        .arg("-XX:+UseSerialGC")
        .arg("-Djava.awt.headless=true")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS")
        .arg("-cp")
        .arg(jars.join("*"));
    command
}
