//! Embedded SQL files and their rendering.
//!
//! Every statement of posthouse is in one of these files.

use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        /// Path below `sql/` and text of every file.
        const FILES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../sql/", $path)))),*];
    };
}

files![
    "audit/node_distinct_id.sql",
    "audit/node_hashed.sql",
    "audit/node_newest.sql",
    "audit/node_page.sql",
    "audit/node_person.sql",
    "audit/node_rows.sql",
    "audit/node_sums.sql",
    "audit/node_versions.sql",
    "audit/postgres_distinct_id.sql",
    "audit/postgres_hashed.sql",
    "audit/postgres_keys.sql",
    "audit/postgres_person.sql",
    "audit/postgres_rows.sql",
    "audit/postgres_sums.sql",
    "backfill/1_sharded_backfill_files.sql",
    "backfill/2_backfill_files.sql",
    "backfill/3_sharded_backfill_ledger.sql",
    "backfill/4_backfill_ledger.sql",
    "backfill/bundle_files.sql",
    "backfill/cancellations.sql",
    "backfill/cell_hash.sql",
    "backfill/claimed_bundles.sql",
    "backfill/file_set.sql",
    "backfill/files_columns.sql",
    "backfill/insert_block.sql",
    "backfill/job_blocks.sql",
    "backfill/job_files.sql",
    "backfill/job_fingerprints.sql",
    "backfill/job_records.sql",
    "backfill/jobs.sql",
    "backfill/known_files.sql",
    "backfill/known_settings.sql",
    "backfill/known_units.sql",
    "backfill/ledger_columns.sql",
    "backfill/present_rows.sql",
    "backfill/pressure.sql",
    "backfill/record_files.sql",
    "backfill/record_ledger.sql",
    "backfill/recorded_bundles.sql",
    "backfill/row_hash.sql",
    "backfill/stored_block.sql",
    "backfill/stored_blocks.sql",
    "backfill/stored_events.sql",
    "backfill/sync_replica.sql",
    "backfill/table_columns.sql",
    "backfill/undo_candidates.sql",
    "backfill/undo_delete.sql",
    "backfill/undo_files.sql",
    "backfill/undo_flush_log.sql",
    "backfill/undo_incomplete.sql",
    "backfill/undo_inserts.sql",
    "backfill/undo_judged.sql",
    "backfill/undo_log_oldest.sql",
    "backfill/undo_log_reach.sql",
    "backfill/undo_marked.sql",
    "backfill/undo_merges.sql",
    "backfill/undo_other_blocks.sql",
    "backfill/undo_other_rows.sql",
    "backfill/undo_own_blocks.sql",
    "backfill/undo_quiet.sql",
    "backfill/undo_rows.sql",
    "backfill/undo_slices.sql",
    "backfill/undo_timeout.sql",
    "backfill/undo_units.sql",
    "backfill/undo_unrecorded.sql",
    "backfill/undone_bundles.sql",
    "changes/add.sql",
    "changes/attach_consumer.sql",
    "changes/create_database.sql",
    "changes/detach_consumer.sql",
    "changes/drop_column.sql",
    "changes/drop_foreign.sql",
    "changes/drop_index.sql",
    "changes/drop_table.sql",
    "changes/drop_view.sql",
    "changes/flush_distributed.sql",
    "changes/materialize.sql",
    "changes/modify_column.sql",
    "changes/modify_setting.sql",
    "changes/rename_table.sql",
    "events/1_kafka_events.sql",
    "events/2_events_mv.sql",
    "events/3_writable_events.sql",
    "events/4_sharded_events.sql",
    "events/5_events.sql",
    "events/6_events_dead_letter_mv.sql",
    "events/7_sharded_events_dead_letter.sql",
    "events/8_events_dead_letter.sql",
    "events/attribute.sql",
    "events/columns.sql",
    "events/conversions.sql",
    "events/dead_letter_columns.sql",
    "events/dead_letter_view.sql",
    "events/elements_chain_elements.sql",
    "events/elements_chain_href.sql",
    "events/elements_chain_ids.sql",
    "events/elements_chain_texts.sql",
    "events/is_valid_event.sql",
    "events/kafka_engine.sql",
    "events/message.sql",
    "events/not_json.sql",
    "events/person_key.sql",
    "events/properties.sql",
    "events/read_message.sql",
    "events/repeated.sql",
    "events/timestamp.sql",
    "inspect/background_errors.sql",
    "inspect/check_grant.sql",
    "inspect/cluster.sql",
    "inspect/clusters.sql",
    "inspect/consumers.sql",
    "inspect/databases.sql",
    "inspect/definition.sql",
    "inspect/detached_tables.sql",
    "inspect/distinct_id_messages.sql",
    "inspect/distinct_id_table.sql",
    "inspect/distinct_id_versions.sql",
    "inspect/exists.sql",
    "inspect/format.sql",
    "inspect/http_ports.sql",
    "inspect/kafka_tables.sql",
    "inspect/keeper_children.sql",
    "inspect/keeper_offsets.sql",
    "inspect/macros.sql",
    "inspect/mutations.sql",
    "inspect/named_collection.sql",
    "inspect/old_parts.sql",
    "inspect/profile_settings.sql",
    "inspect/reach.sql",
    "inspect/reading.sql",
    "inspect/readonly.sql",
    "inspect/setting_defaults.sql",
    "inspect/stored_rows.sql",
    "inspect/stored_twice.sql",
    "inspect/tables.sql",
    "inspect/udf_check.sql",
    "inspect/udf_golden.sql",
    "inspect/udf_loaded.sql",
    "inspect/udf_registered.sql",
    "inspect/udf_reload.sql",
    "inspect/upgrades.sql",
    "inspect/uuid_probe.sql",
    "inspect/view_sources.sql",
    "inspect/views.sql",
    "persons/10_person_distinct_id_overrides.sql",
    "persons/11_person_distinct_id_overrides_mv.sql",
    "persons/12_person_squash.sql",
    "persons/13_person_squash_lookup.sql",
    "persons/1_kafka_person.sql",
    "persons/2_person_mv.sql",
    "persons/3_person.sql",
    "persons/4_kafka_person_distinct_id.sql",
    "persons/5_person_distinct_id_mv.sql",
    "persons/6_person_distinct_id.sql",
    "persons/7_person_dead_letter_mv.sql",
    "persons/8_person_distinct_id_dead_letter_mv.sql",
    "persons/9_person_dead_letter.sql",
    "persons/consumer.sql",
    "persons/distinct_id_history.sql",
    "persons/distinct_id_keys.sql",
    "persons/distinct_id_versions.sql",
    "persons/is_valid_distinct_id.sql",
    "persons/is_valid_person.sql",
    "persons/message.sql",
    "persons/person_columns.sql",
    "persons/person_distinct_id_columns.sql",
    "postgres/blockers.sql",
    "postgres/bounds.sql",
    "postgres/by_key.sql",
    "postgres/catalog.sql",
    "postgres/copy.sql",
    "postgres/count.sql",
    "postgres/create_publication.sql",
    "postgres/create_slot.sql",
    "postgres/drop_slot.sql",
    "postgres/ended.sql",
    "postgres/now.sql",
    "postgres/rows.sql",
    "postgres/seen.sql",
    "postgres/session.sql",
    "postgres/settings.sql",
    "postgres/slot.sql",
    "queries/duplicate_events.sql",
    "queries/duplicate_removal.sql",
    "queries/duplicate_uuids.sql",
    "queries/events_with_person.sql",
    "queries/live_distinct_ids.sql",
    "queries/lookup_settings.sql",
    "queries/person_distinct_id_names.sql",
    "queries/person_distinct_ids.sql",
    "queries/person_events.sql",
    "queries/persons.sql",
    "queries/persons_where.sql",
    "queries/reshard_plan.sql",
    "queries/shard_rows.sql",
    "queries/team_events.sql",
    "queries/unique_persons.sql",
    "queries/wrong_shard_rows.sql",
    "squash/clear.sql",
    "squash/copy.sql",
    "squash/differing.sql",
    "squash/forget.sql",
    "squash/held.sql",
    "squash/ids.sql",
    "squash/load.sql",
    "squash/loaded.sql",
    "squash/look_up.sql",
    "squash/running.sql",
    "squash/set.sql",
    "squash/size.sql",
    "squash/write.sql",
    "upgrades/0001_database_comment.sql",
    "upgrades/posthouse_upgrades.sql",
    "upgrades/record.sql",
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // A misspelled name in a template is a bug of posthouse. It must fail instead of rendering as
    // an empty string.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (path, text) in FILES {
        environment.add_template(path, text).unwrap_or_else(|error| panic!("sql/{path}: {error}"));
    }
    environment
});

/// A template and its values do not fit together, a bug of posthouse.
#[derive(Debug, thiserror::Error)]
#[error("can't render sql/{path}: please report this")]
pub(crate) struct RenderError {
    path: String,
    #[source]
    source: Box<minijinja::Error>,
}

/// Renders the file at `path` (below `sql/`) with `values`.
///
/// # Errors
/// [`RenderError`] if the file is missing or needs a value that `values` lacks.
pub(crate) fn render(path: &str, values: impl Serialize) -> Result<String, RenderError> {
    let template = ENVIRONMENT.get_template(path);
    template
        .and_then(|template| template.render(minijinja::Value::from(Serde(values))))
        .map_err(|source| RenderError { path: path.to_owned(), source: Box::new(source) })
}

/// Returns the unrendered text of the file at `path`, for checksums and for statements
/// without values.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find_map(|(name, text)| (*name == path).then_some(*text))
}

/// Returns the paths below `folder/`, in order.
pub(crate) fn paths(folder: &str) -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path).filter(move |path| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Collects all files below `folder`, as paths below `root`.
    fn files_below(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                files_below(root, &entry, found);
            } else if entry.extension().is_some_and(|extension| extension == "sql") {
                found.push(entry.strip_prefix(root).expect("below").to_string_lossy().into_owned());
            }
        }
    }

    #[test]
    fn every_sql_file_is_embedded_and_none_is_missing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
        let mut found = Vec::new();
        files_below(&root, &root, &mut found);
        found.sort();
        let embedded: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(embedded, found);
    }

    #[test]
    fn every_template_parses() {
        for (path, _) in FILES {
            ENVIRONMENT.get_template(path).expect(path);
        }
    }
}
