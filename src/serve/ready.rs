//! Whether this process does its work: what must be so, and what is not.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A part of the program that must be in order before kustos is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Rules are loaded.
    Rules,
    /// Every source is open.
    Sources,
    /// The archive can be written.
    Archive,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 3] = [Part::Rules, Part::Sources, Part::Archive];

    /// The word in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Rules => "rules",
            Part::Sources => "sources",
            Part::Archive => "archive",
        }
    }
}

/// What is not in order, and why. Cheap to clone; all clones say the same.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<RwLock<BTreeMap<Part, String>>>);

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness::new()
    }
}

impl Readiness {
    /// Nothing is in order yet: a part has to say that it is.
    pub fn new() -> Readiness {
        let starting = Part::ALL.into_iter().map(|it| (it, "starting".to_owned()));
        Readiness(Arc::new(RwLock::new(starting.collect())))
    }

    /// The part is in order.
    pub fn set(&self, part: Part) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&part);
    }

    /// The part is not in order, and why.
    pub fn unset(&self, part: Part, why: impl Into<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(part, why.into());
    }

    /// What is not in order. Empty: ready.
    pub fn missing(&self) -> Vec<(Part, String)> {
        let missing = self.0.read().unwrap_or_else(PoisonError::into_inner);
        missing.iter().map(|(part, why)| (*part, why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_only_while_every_part_says_so() {
        let readiness = Readiness::new();
        assert_eq!(readiness.missing().len(), Part::ALL.len());
        Part::ALL.into_iter().for_each(|it| readiness.clone().set(it));
        assert!(readiness.missing().is_empty());
        readiness.unset(Part::Archive, "the disk is full");
        assert_eq!(readiness.missing(), [(Part::Archive, "the disk is full".to_owned())]);
    }
}
