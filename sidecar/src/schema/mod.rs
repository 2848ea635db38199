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
mod drop_columns;
mod feeders;
mod import;
mod kafka_table;
mod materialize;
mod node_rights;
mod node_settings;
mod observe;
mod plan;
mod render;
mod steps;
mod unused_fields;
mod pause_consumers;
mod upgrades;

pub(crate) use self::apply::apply;
pub(crate) use self::cluster::ClusterError;
pub(crate) use self::cluster::differences as cluster_differences;
pub(crate) use self::compare::{ObjectDifference, Unmanaged};
pub(crate) use self::confirm::{Confirmed, check, confirmations, joined};
pub(crate) use self::drop_columns::{DropColumnError, drop_column_steps, droppable_columns};
pub(crate) use self::feeders::Feeder;
pub(crate) use self::import::{ImportRequest, import};
pub(crate) use self::kafka_table::is_detached;
pub(crate) use self::kafka_table::{KafkaTable, kafka_tables};
pub(crate) use self::materialize::{
    MaterializePlan, MaterializeProgress, MaterializeRequest, Mutation, StallWatch, materialize,
    plan_materialize, running_mutations,
};
pub(crate) use self::node_rights::refuse_missing_rights;
pub(crate) use self::node_settings::{
    SettingFinding, node_settings, refuse_faults, refuse_read_only, text as settings_text,
};
pub(crate) use self::objects::{OBJECTS, Role, SchemaObject, Section};
pub(crate) use self::observe::{Replays, observe};
pub(crate) use self::pause_consumers::pause_consumers;
pub(crate) use self::plan::{Action, SchemaChange, SchemaPlan};
pub(crate) use self::render::render;
pub(crate) use self::steps::{SchemaStep, steps};
pub(crate) use self::unused_fields::{FieldSample, unused_fields};
