//! Views that call functions which nodes lack.

use std::collections::BTreeMap;

use posthouse_udf::functions::{FUNCTIONS, Function, Reads};

use super::{Action, Desired};

/// Nodes that lack a function of the person index, by its name.
pub(in crate::schema) type LackingNodes = BTreeMap<&'static str, Vec<String>>;

/// The functions of the person index.
pub(in crate::schema) fn index_functions() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().copied().filter(|function| function.reads == Reads::PersonIndex)
}

/// Leaves a view whose functions a node lacks. ClickHouse creates such a view, and then refuses its
/// queries. Each shard calls the functions, so one node without them is enough.
pub(super) fn lacking_functions(desired: &Desired, lacking: &LackingNodes) -> Option<Action> {
    let is_called = |name: &str| desired.sql.contains(&format!("{name}("));
    let (function, nodes) = lacking.iter().find(|(name, nodes)| is_called(name) && !nodes.is_empty())?;
    let (verb, machine) = if nodes.len() == 1 { ("has", "its machine") } else { ("have", "their machines") };
    let next_step = format!(
        "{} {verb} no function {function}: run posthouse udf install on {machine}, or set persons.lookup = \"join\" in the \
         config",
        nodes.join(", ")
    );
    Some(Action::Leave { next_step, blocks: false })
}
