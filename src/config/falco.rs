//! What of the configuration only Falco's rules heed.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What only Falco's rules heed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Falco {
    /// Which of the Falco rules that match an event fire. Default: all.
    pub rule_matching: RuleMatching,
}

/// Which of the Falco rules that match an event fire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleMatching {
    /// Every one.
    #[default]
    All,
    /// The first one in the order of the files, which is what Falco does unless told otherwise.
    First,
}

/// The word is neither `all` nor `first`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown rule matching \"{0}\": all or first")]
pub struct RuleMatchingError(String);

impl FromStr for RuleMatching {
    type Err = RuleMatchingError;

    fn from_str(word: &str) -> Result<RuleMatching, RuleMatchingError> {
        match word {
            "all" => Ok(RuleMatching::All),
            "first" => Ok(RuleMatching::First),
            _ => Err(RuleMatchingError(word.to_owned())),
        }
    }
}
