//! A Kafka source of the daemon: a member of a consumer group that commits what is durable and nothing else.
//!
//! One rule: a partition has one reader whose position is in an archive's catalog. On assignment the furthest of the
//! catalogs' positions and the broker's counts; an offset is committed to the broker only when every message before it is kept.

mod desk;
mod hands;
mod place;
mod placing;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use super::intake::{Intake, Source, SourceName};
use crate::cause;
use crate::config;
use crate::source::kafka::client::{self, ClientError};

/// How long it waits before it joins the group again after it could not go on.
const AGAIN: Duration = Duration::from_secs(5);

/// How long it sleeps between two looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

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

impl KafkaSource {
    /// Whether librdkafka takes the settings. Opens no connection and reads no secret.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(config: &config::KafkaSource) -> Result<(), ClientError> {
        client::plain(config).map(drop)
    }
}

impl Source for KafkaSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn run(&self, intake: Intake<'_>) {
        while !intake.stop.asked() {
            let Err(error) = session::read(self, &intake) else { return };
            let words = cause::line(&error);
            tracing::error!(
                source = &*self.name.name,
                error = words,
                "Kafka cannot be read; joining the group again"
            );
            intake.observer.state(&self.name, Some(&words));
            let since = intake.clock.elapsed();
            while !intake.stop.asked() && intake.clock.elapsed().saturating_sub(since) < AGAIN {
                std::thread::sleep(LOOK);
            }
        }
    }
}
