//! `posthouse schema import`: the config of a running cluster.

use clap::Args;
use serde::Serialize;
use url::Url;

use super::super::Outcome;
use super::super::output::Output;
use crate::schema::{self, ImportRequest};

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaImport {
    /// HTTP interface of any node; the password comes from POSTHOUSE_CLICKHOUSE_PASSWORD
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8123")]
    url: Url,

    /// Name of the ClickHouse user
    #[arg(long, value_name = "NAME", default_value = "default")]
    user: String,

    /// Name of the cluster in the node's remote_servers
    #[arg(long, value_name = "NAME", default_value = "posthog")]
    cluster: String,

    /// Database of the tables
    #[arg(long, value_name = "NAME", default_value = "posthog")]
    database: String,
}

/// JSON output of `import`.
#[derive(Serialize)]
struct Imported {
    config: String,
}

impl SchemaImport {
    pub(in crate::cli) async fn run(&self, output: Output) -> anyhow::Result<Outcome> {
        let request = ImportRequest {
            url: self.url.clone(),
            user: self.user.clone(),
            cluster: self.cluster.clone(),
            database: self.database.clone(),
        };
        let imported = Imported { config: schema::import(&request).await? };
        output.print(&imported, |imported| imported.config.clone())?;
        Ok(Outcome::Clean)
    }
}
