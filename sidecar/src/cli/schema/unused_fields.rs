//! `posthouse schema unused-fields`: fields of messages that no column stores.

use clap::Args;

use super::super::Outcome;
use super::super::output::{Output, table};
use crate::cluster::Cluster;
use crate::schema::{self, FieldSample};

pub(super) const UNUSED_FIELDS: &str = "\
Example:
  posthouse schema unused-fields --messages 100000    a larger sample

Only names and JSON types are shown, no values. A field is stored by [[events.columns]] or by
events.profile = \"posthog\".";

#[derive(Debug, Args)]
pub(in crate::cli) struct UnusedFields {
    /// Newest messages to read, evenly from all partitions
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    messages: u32,
}

impl UnusedFields {
    pub(in crate::cli) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let sample = schema::unused_fields(cluster, self.messages).await?;
        let topic = &cluster.config.events.topic;
        output.print(&sample, |sample| text(topic, sample))?;
        Ok(Outcome::differs_if(!sample.unused.is_empty()))
    }
}

/// Longest name that a line shows.
const NAME_WIDTH: usize = 60;

/// A name from a message: control characters are escaped, and a long one is cut.
fn shown(name: &str) -> String {
    let escaped: String = name
        .chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] })
        .collect();
    match escaped.char_indices().nth(NAME_WIDTH) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

fn text(topic: &str, sample: &FieldSample) -> String {
    if sample.messages == 0 {
        return format!("{topic} has no messages: check events.topic, or wait for a producer\n");
    }
    let mut text = String::new();
    if !sample.unused.is_empty() {
        let heading = ["field", "messages", "share", "type"].map(str::to_owned).to_vec();
        let rows = sample.unused.iter().map(|field| {
            let share = 100.0 * field.messages as f64 / sample.messages.max(1) as f64;
            let types: Vec<&str> = field.types.iter().copied().collect();
            vec![shown(&field.field), field.messages.to_string(), format!("{share:.1} %"), types.join(" or ")]
        });
        text.push_str(&table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()));
        text.push('\n');
    }
    if sample.is_cut {
        text.push_str("More fields are not shown: some names seem to be data.\n");
    }
    if sample.not_objects > 0 {
        text.push_str(&format!(
            "{} messages are no JSON objects: see events_dead_letter\n",
            sample.not_objects
        ));
    }
    let (fields, messages) = (sample.unused.len(), sample.messages);
    text + &format!("{fields} fields that no column stores, in the {messages} newest messages of {topic}\n")
}
