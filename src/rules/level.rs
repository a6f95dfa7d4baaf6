//! How bad a finding is, in Sigma's five words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A rule's level. A greater one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Context for other findings; no alert of its own.
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
#[error("unknown level \"{0}\": informational, low, medium, high or critical")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_come_back() {
        for (level, word) in WORDS {
            assert_eq!(word.parse(), Ok(level));
            assert_eq!(level.to_string(), word);
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{word}\""));
        }
        assert!(Level::Critical > Level::High && Level::Low > Level::Informational);
        assert!("bad".parse::<Level>().is_err());
    }
}
