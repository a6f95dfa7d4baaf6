//! Falco's eight priorities, and the level each stands for.

use crate::rules::Level;

/// A rule's priority. A greater one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) struct Priority {
    /// As Falco writes it: `Warning`.
    pub(in crate::rules) word: &'static str,
    pub(in crate::rules) level: Level,
}

const PRIORITIES: [Priority; 8] = [
    Priority { word: "Emergency", level: Level::Critical },
    Priority { word: "Alert", level: Level::Critical },
    Priority { word: "Critical", level: Level::Critical },
    Priority { word: "Error", level: Level::High },
    Priority { word: "Warning", level: Level::Medium },
    Priority { word: "Notice", level: Level::Low },
    Priority { word: "Informational", level: Level::Informational },
    Priority { word: "Debug", level: Level::Informational },
];

impl Priority {
    /// In any case; `info` is short for informational.
    pub(super) fn parse(text: &str) -> Option<Priority> {
        let text = if text.eq_ignore_ascii_case("info") { "informational" } else { text };
        PRIORITIES.iter().find(|it| it.word.eq_ignore_ascii_case(text)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_has_a_level() {
        let level = |text| Priority::parse(text).map(|it| it.level);
        assert_eq!(level("EMERGENCY"), Some(Level::Critical));
        assert_eq!(level("error"), Some(Level::High));
        assert_eq!(level("Warning"), Some(Level::Medium));
        assert_eq!(level("NOTICE"), Some(Level::Low));
        assert_eq!(level("info"), level("Debug"));
        assert_eq!(level("warn"), None);
    }
}
