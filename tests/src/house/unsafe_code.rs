//! Modules that may have unsafe code.

use super::sources::files;

/// Each with the reason.
const ALLOWED: [(&str, &str); 12] = [
    ("sidecar/src/kafka/admin/mod.rs", "the client of librdkafka behind the crate's"),
    ("sidecar/src/kafka/ends_aside.rs", "a value that is dropped on another thread"),
    ("sidecar/src/kafka/native.rs", "requests of librdkafka that the crate lacks"),
    ("sidecar/src/kafka/session/context.rs", "logins that the crate does not change"),
    ("sidecar/src/supervise/memory.rs", "settings of the allocator"),
    ("tests/src/bin/clickhouse_launcher.rs", "the library libchdb.so"),
    ("tests/src/stack/process.rs", "a call between fork and exec"),
    ("udf/src/main.rs", "descriptors that ClickHouse leaves open"),
    ("udf/src/process/mod.rs", "descriptors that ClickHouse leaves open"),
    ("udf/src/shard/siphash/mod.rs", "wide registers"),
    ("udf/src/snapshot/mapping.rs", "files that are mapped into memory"),
    ("udf/src/snapshot/prefetch.rs", "hints to the processor"),
];
const LINT: &str = "unsafe_code";

#[test]
fn unsafe_code_is_in_the_named_modules_alone() {
    let mut found = Vec::new();
    for folder in ["sidecar/src", "udf/src", "tests/src", "tests/it", "tests/benches"] {
        let allowing = files(folder, "rs").into_iter().filter(|(path, text)| {
            let mut lines = text.lines().filter(|line| line.trim_start().starts_with('#'));
            !path.contains("house/") && lines.any(|line| line.contains(LINT))
        });
        found.extend(allowing.map(|(path, _)| path));
    }
    found.sort();
    assert_eq!(found, ALLOWED.map(|(path, _)| path), "the workspace denies {LINT} everywhere else");
}
