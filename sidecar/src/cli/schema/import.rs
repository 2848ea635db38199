//! `posthouse schema import`: the config of a running cluster.

use std::path::PathBuf;

use anyhow::anyhow;
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

    /// PEM file of the CAs of an https URL, instead of those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// PEM file of the client certificate of an https URL
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,

    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,

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
            tls: self.tls()?,
            user: self.user.clone(),
            cluster: self.cluster.clone(),
            database: self.database.clone(),
        };
        let imported = Imported { config: schema::import(&request).await? };
        output.print(&imported, |imported| imported.config.clone())?;
        Ok(Outcome::Clean)
    }

    fn tls(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ];
        let mut keys = Vec::new();
        for (key, path) in files {
            if let Some(path) = path {
                // The config may be written to another folder.
                let path = std::path::absolute(path)?.into_os_string().into_string();
                keys.push((key, path.map_err(|path| anyhow!("{} is not UTF-8", path.display()))?));
            }
        }
        Ok(keys)
    }
}
