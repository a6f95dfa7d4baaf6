//! A finding's level -> the sinks it goes to.

use super::Named;
use crate::alert::Level;

/// Which sink is sent which level. Fixed once built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<(String, Level)>);

impl Routes {
    /// The routes to these sinks.
    pub fn of(sinks: &[Named]) -> Routes {
        Routes(sinks.iter().map(|it| (it.name.clone(), it.min_level)).collect())
    }

    /// The sinks that a finding of that level goes to.
    pub fn sinks_for(&self, level: Level) -> Vec<String> {
        self.0.iter().filter(|(_, min)| level >= *min).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_sent_its_level_and_what_is_worse() {
        let routes =
            Routes(vec![("all".into(), Level::Informational), ("oncall".into(), Level::High)]);
        assert_eq!(routes.sinks_for(Level::Medium), ["all"]);
        assert_eq!(routes.sinks_for(Level::High), ["all", "oncall"]);
    }
}
