//! Tools of this machine, checked before any download or start.
//!
//! All missing tools are named at once.

use std::process::Command;

use anyhow::bail;

use super::engine::on_path;

/// Apache Kafka 4 runs on this version of Java or newer.
const JAVA: u32 = 17;

/// A program that a start needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    program: &'static str,
    purpose: &'static str,
    debian: &'static str,
    macos: &'static str,
}

pub(crate) const NPM: Tool =
    Tool { program: "npm", purpose: "downloads ClickHouse and PostgreSQL", debian: "npm", macos: "node" };
pub(crate) const TAR: Tool = Tool {
    program: "tar",
    purpose: "unpacks ClickHouse and PostgreSQL",
    debian: "tar gzip",
    macos: "gnu-tar",
};
pub(crate) const MAVEN: Tool = Tool {
    program: "mvn",
    purpose: "downloads Apache Kafka and Apache ZooKeeper",
    debian: "maven",
    macos: "maven",
};
pub(crate) const JAVA_RUNTIME: Tool = Tool {
    program: "java",
    purpose: "runs Apache Kafka and Apache ZooKeeper; version 17 or newer",
    debian: "openjdk-17-jre-headless",
    macos: "openjdk",
};

/// # Errors
/// If one of `needed` is missing or too old. The error has every such tool, each with the command
/// that installs it.
pub(crate) fn check(needed: &[Tool]) -> anyhow::Result<()> {
    let missing = needed.iter().filter(|tool| !present(tool)).copied().collect::<Vec<_>>();
    if missing.is_empty() { Ok(()) } else { bail!("{}", report(&missing)) }
}

fn present(tool: &Tool) -> bool {
    let Some(path) = on_path(tool.program) else { return false };
    if *tool != JAVA_RUNTIME {
        return true;
    }
    // macOS has a `java` that only prints an installation hint.
    let output = Command::new(path).arg("-version").output();
    let version = output.ok().and_then(|output| java_version(&String::from_utf8_lossy(&output.stderr)));
    version.is_some_and(|version| version >= JAVA)
}

/// The feature release in the output of `java -version`: 17 of `openjdk version "17.0.15"`, 1 of
/// `java version "1.8.0"`.
fn java_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    quoted.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn report(missing: &[Tool]) -> String {
    let mut text = String::from("this machine lacks tools that the stack needs:\n");
    for tool in missing {
        text.push_str(&format!(
            "  {:<5} {}\n        Debian, Ubuntu: apt-get install -y {}\n        macOS: brew install {}\n",
            tool.program, tool.purpose, tool.debian, tool.macos
        ));
    }
    let all = missing.iter().map(|tool| tool.debian).collect::<Vec<_>>().join(" ");
    text.push_str(&format!("all at once: apt-get install -y {all}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_old_and_new() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_version("openjdk version \"21-ea\" 2023-09-19\n"), Some(21));
        assert_eq!(java_version("java version \"1.8.0_392\"\n"), Some(1));
        assert_eq!(java_version("Unable to locate a Java Runtime"), None);
    }

    #[test]
    fn every_missing_tool_is_named_with_its_command() {
        let text = report(&[NPM, JAVA_RUNTIME]);
        assert!(text.contains("apt-get install -y npm\n"), "{text}");
        assert!(text.contains("apt-get install -y openjdk-17-jre-headless\n"), "{text}");
        assert!(text.ends_with("apt-get install -y npm openjdk-17-jre-headless"), "{text}");
    }
}
