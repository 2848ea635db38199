//! Clients of nodes and brokers, made in one place and handed down.

use super::sources::library;

/// The file that makes them.
const MAKER: &str = "sidecar/src/cluster.rs";
/// What makes a client from a config.
const MAKES: [&str; 2] = ["Node::all(", "Client::new("];

#[test]
fn clients_are_made_in_one_place() {
    let mut makers = Vec::new();
    for (path, text) in library("sidecar/src").into_iter().filter(|(path, _)| path != MAKER) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().zip(1..).filter(|(line, _)| MAKES.iter().any(|makes| line.contains(makes)));
        makers.extend(lines.map(|(_, number)| format!("{path}:{number}")));
    }
    assert!(makers.is_empty(), "use the Cluster that was made from the config: {makers:#?}");
}
