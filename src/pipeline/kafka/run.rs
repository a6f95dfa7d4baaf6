//! A Kafka source as the daemon runs it: one membership of the group after the other.

use std::time::Duration;

use super::{KafkaSource, session};
use crate::cause;
use crate::config;
use crate::pipeline::intake::{Intake, Source, SourceName};
use crate::source::kafka::client::{self, ClientError};

/// How long it waits before it joins the group again after it could not go on.
const AGAIN: Duration = Duration::from_secs(5);

/// How long it sleeps between two looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

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
