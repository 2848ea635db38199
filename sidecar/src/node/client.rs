//! HTTP client of a node: connection, user and settings of requests.

use std::time::Duration;

use clickhouse::{Client, Compression};
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::connector::{AnswerLimits, NodeConnector, NodeTls};
use crate::config::ClickHouse;

/// A server closes idle connections after 3 s (its default `keep_alive_timeout` in the shipped
/// config). A shorter limit avoids writing into a connection that the server is closing.
const IDLE_CONNECTION: Duration = Duration::from_secs(2);

/// Settings that our statements rely on, whatever the user's profile says. The values are the
/// defaults of 26.7. A user who may change no settings may still send a value that equals the
/// profile's.
///
/// With another value a result can be wrong or a statement fails; `tests/it/profiles.rs` has a case
/// for each. Settings that only tests and experiments use are left out, because an older server
/// does not know them and would reject every request.
pub const SETTINGS: [(&str, &str); 39] = [
    // A result has all rows of the query, unchanged, and no others.
    ("final", "0"),
    ("apply_deleted_mask", "1"),
    ("limit", "0"),
    ("offset", "0"),
    ("use_query_cache", "0"),
    ("skip_unavailable_shards", "0"),
    ("optimize_skip_unused_shards", "0"),
    ("enable_parallel_replicas", "0"),
    ("distributed_group_by_no_merge", "0"),
    // A limit that is reached is an error.
    ("read_overflow_mode", "throw"),
    ("read_overflow_mode_leaf", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("timeout_overflow_mode_leaf", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("sort_overflow_mode", "throw"),
    ("distinct_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
    ("join_overflow_mode", "throw"),
    ("transfer_overflow_mode", "throw"),
    // SQL semantics.
    ("aggregate_functions_null_for_empty", "0"),
    ("empty_result_for_aggregation_by_empty_set", "0"),
    ("join_use_nulls", "0"),
    ("join_default_strictness", "ALL"),
    ("data_type_default_nullable", "0"),
    ("enable_global_with_statement", "1"),
    ("prefer_column_name_to_alias", "0"),
    ("force_primary_key", "0"),
    ("show_table_uuid_in_table_create_query_if_not_nil", "0"),
    // Wire formats.
    ("input_format_native_decode_types_in_binary_format", "0"),
    ("input_format_native_allow_types_conversion", "1"),
    ("input_format_defaults_for_omitted_fields", "1"),
    ("input_format_force_null_for_omitted_fields", "0"),
    ("input_format_tsv_enum_as_number", "0"),
    ("output_format_json_array_of_rows", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_64bit_floats", "0"),
    ("date_time_output_format", "simple"),
    // An answer begins when it is complete.
    ("send_progress_in_http_headers", "0"),
];

/// Maximum size of an answer that is held in memory. The blocks of a load of a billion events have
/// a tenth of it.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Clients of one node, without a password.
#[derive(Debug, Clone)]
pub(super) struct NodeClients {
    /// For statements whose answer the server completes before it sends it.
    pub(super) complete: Client,
    /// For results that the server sends while it computes them.
    pub(super) streamed: Client,
}

impl NodeClients {
    /// `tls` is for an `https` URL.
    pub(super) fn new(url: &Url, access: &ClickHouse, tls: Option<&NodeTls>) -> Self {
        let tls = tls.filter(|_| url.scheme() == "https");
        let client = |limits| client(url, access, NodeConnector::new(tls, access.timeout, limits));
        Self {
            complete: client(AnswerLimits { max_body: MAX_ANSWER_BYTES, time: Some(access.timeout) }),
            streamed: client(AnswerLimits { max_body: u64::MAX, time: None }),
        }
    }
}

fn client(url: &Url, access: &ClickHouse, connector: NodeConnector) -> Client {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(connector);
    let client = SETTINGS
        .iter()
        .fold(Client::with_http_client(http), |client, (name, value)| client.with_setting(*name, *value));
    let client = client
        .with_url(url.as_str())
        .with_user(&access.user)
        .with_product_info("posthouse", env!("CARGO_PKG_VERSION"))
        .with_compression(Compression::None);
    match access.certificate_login {
        true => client.with_header("X-ClickHouse-SSL-Certificate-Auth", "on"),
        false => client,
    }
}
