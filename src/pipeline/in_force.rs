//! The rule set in force, and its exchange.
//!
//! One rule: a set is swapped whole, between chunks. A chunk is given its set together with its place in
//! the order, so that no chunk is judged by an older set than one before it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::rules::RuleSet;

/// The rule set in force. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct InForce(Arc<Mutex<Arc<RuleSet>>>);

impl InForce {
    /// That set is in force.
    pub fn new(rules: Arc<RuleSet>) -> InForce {
        InForce(Arc::new(Mutex::new(rules)))
    }

    /// The set.
    pub fn rules(&self) -> Arc<RuleSet> {
        self.hold(Arc::clone)
    }

    /// Puts another set in its place: it judges what is read from here on.
    pub fn swap(&self, rules: Arc<RuleSet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Calls `body` with the set, which stays in force until it returns.
    pub(super) fn hold<T>(&self, body: impl FnOnce(&Arc<RuleSet>) -> T) -> T {
        body(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
