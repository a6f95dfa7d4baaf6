//! Topics of Kafka -> the messages of those partitions that the group gives this process.
//!
//! One rule: nothing is read of a partition before it was said where to begin, and no offset is committed
//! that was not asked for. What is durable, and so may be committed, is known further up.

pub mod batch;
pub mod client;
pub mod marks;
pub mod member;
pub mod probe;

use std::fmt;
use std::sync::Arc;

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// Its number in the topic.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}
