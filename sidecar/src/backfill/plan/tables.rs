//! Check of the tables for the columns that a load fills.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::backfill::insert::Route;
use crate::sql;

#[derive(Deserialize)]
struct WritableColumn {
    name: String,
}

/// Refuses columns of the config that the tables lack, before the ledger has the load.
pub(super) async fn check_tables<'a>(
    database: &str,
    route: &Route,
    filled: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let filled: BTreeSet<&str> = filled.collect();
    if filled.is_empty() {
        return Ok(());
    }
    let sql = sql::render("backfill/table_columns.sql", minijinja::context! {})?;
    let columns: Vec<WritableColumn> = route.any().query(&sql).param("database", database).rows().await?;
    let known: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let missing: Vec<&str> = filled.difference(&known).copied().collect();
    anyhow::ensure!(
        missing.is_empty(),
        "the tables lack columns that the config has and the load fills: {}: run posthouse schema apply first",
        missing.join(", ")
    );
    Ok(())
}
