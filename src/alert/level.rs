//! How bad a finding is, in Sigma's five words, in order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A finding's level. A greater one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Context for other findings.
    Informational,
    /// Notable; worth a look in numbers.
    Low,
    /// To be reviewed regularly.
    Medium,
    /// To be looked at promptly.
    High,
    /// An incident until shown otherwise.
    Critical,
}

/// The word is none of the five.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown level {0:?}: informational, low, medium, high or critical")]
pub struct LevelError(String);

const WORDS: [(Level, &str); 5] = [
    (Level::Informational, "informational"),
    (Level::Low, "low"),
    (Level::Medium, "medium"),
    (Level::High, "high"),
    (Level::Critical, "critical"),
];

impl Level {
    /// The word in rules, findings and configuration.
    pub fn as_str(self) -> &'static str {
        WORDS.iter().find(|(level, _)| *level == self).map_or("", |(_, word)| word)
    }

    /// The level of a finding whose own cannot be read: it goes to every sink.
    pub fn worst() -> Level {
        Level::Critical
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(word: &str) -> Result<Level, LevelError> {
        let found = WORDS.iter().find(|(_, known)| *known == word);
        found.map(|(level, _)| *level).ok_or_else(|| LevelError(word.to_owned()))
    }
}

/// Reads a level; a word that is not known is the worst.
pub(super) fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
    let word = Option::<String>::deserialize(from)?;
    Ok(word.and_then(|it| it.parse().ok()).unwrap_or_else(Level::worst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_come_back() {
        for (level, word) in WORDS {
            assert_eq!(word.parse(), Ok(level));
            assert_eq!(level.to_string(), word);
        }
        assert!(WORDS.windows(2).all(|it| it[0].0 < it[1].0));
        assert!("High".parse::<Level>().is_err());
    }
}
