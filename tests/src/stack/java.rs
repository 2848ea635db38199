//! Commands of the two Java servers: heap, class path, log timestamps.

use std::path::Path;
use std::process::Command;

/// Compiles fast rather than well: a third less work for a tool that runs a second, or a server
/// with little load.
pub(crate) const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// A JVM with a heap of at most `heap_mib` and all jars of a folder. The main class and its
/// arguments are to follow.
pub(crate) fn java(jars: &Path, heap_mib: u32) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        // A small heap on a machine full of other servers. The serial collector uses one thread,
        // and only when it is needed.
        .arg("-XX:+UseSerialGC")
        .arg("-Djava.awt.headless=true")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS")
        .arg("-cp")
        .arg(jars.join("*"));
    command
}
