//! A Kafka source of the daemon: a member of a consumer group that commits what is durable and nothing else.
//!
//! One rule: a partition has one reader whose position is in an archive's catalog. On assignment the furthest of the
//! catalogs' positions and the broker's counts; an offset is committed to the broker only when every message before it is kept.

mod desk;
mod hands;
mod place;
mod placing;
mod run;
mod session;
mod unreadable;

use std::path::PathBuf;

use super::intake::SourceName;
use crate::config;

/// Topics of a Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaSource {
    /// What it is called.
    pub name: SourceName,
    /// As it is configured.
    pub config: config::KafkaSource,
    /// The folder that replicas share; `None`: this process has its archive for itself.
    pub shared: Option<PathBuf>,
}
