//! Schema of every node.
//!
//! The modules follow the flow `objects → render → observe → plan → apply`.

mod objects;

mod apply;
mod cluster;
mod column;
mod compare;
mod confirm;
mod definition;
mod feeders;
mod import;
mod kafka_table;
mod node_settings;
mod observe;
mod plan;
mod render;
mod steps;
mod pause_consumers;
mod upgrades;

pub use self::apply::{ApplyError, StepError, apply};
pub use self::cluster::ClusterError;
pub(crate) use self::cluster::differences as cluster_differences;
pub use self::compare::{ObjectDifference, Unmanaged};
pub use self::confirm::{Confirmation, Confirmed, RefusalReason, check, confirmations, joined};
pub use self::feeders::Feeder;
pub use self::import::{ImportError, ImportRequest, import};
pub(crate) use self::kafka_table::is_detached;
pub use self::kafka_table::{KafkaTable, kafka_tables};
pub use self::node_settings::{
    ReadOnlyError, SettingFinding, SettingSeverity, SettingsError, node_settings, refuse_faults,
    refuse_read_only, text as settings_text,
};
pub use self::objects::{OBJECTS, Role, SchemaObject, Section};
pub use self::observe::{ObserveError, Replays, observe};
pub use self::pause_consumers::pause_consumers;
pub use self::plan::{Action, Alteration, SchemaChange, SchemaPlan};
pub use self::render::{Statement, render};
pub use self::steps::{SchemaStep, steps};
