//! Rule files in, a [`RuleSet`] out: parsed by a front end per dialect, brought
//! into one intermediate form, compiled, and indexed so that most events reach
//! no rule at all.
//!
//! `load` reads files, `sigma` and `falco` are the front ends, `compile` and `matcher`
//! make the form executable, `prefilter` finds the candidates, `access` knows
//! where a field's value lies. `outline`, `counting`, `explain`, `needs` and `coverage` tell
//! people what rules ask, why one matched, what it needs, what they cover. Which names rules
//! may use is in `taxonomy`, and what to say about those they use in vain in `advice`.
//! `link` joins correlations to the rules they count, and `sight` says what they see in an event.
//!
//! **Invariant:** a rule that could not be understood is an error, never a rule
//! that is silently absent or silently weaker.
#![warn(clippy::indexing_slicing)]

mod access;
mod advice;
mod alternatives;
mod callers;
pub mod catalogue;
mod compile;
pub mod correlation;
pub mod counting;
pub mod coverage;
mod derived;
mod embedded;
mod explain;
mod falco;
pub mod group;
mod identity;
mod ir;
mod level;
mod link;
mod lists;
mod literals;
mod load;
mod lookup;
mod matcher;
mod memo;
mod mention;
mod needs;
mod outline;
pub mod pack;
mod patch;
mod path;
mod prefilter;
mod raw;
mod scratch;
mod set;
mod shared;
mod sight;
mod sigma;
mod spare;
mod table;
mod taxonomy;
mod text;
mod texts;
mod tree;
mod value;
mod wanted;
mod wildcard;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use crate::config::Profile;
pub use correlation::Correlation;
pub use embedded::shipped;
pub use explain::{Explanation, Weighed, explain};
pub use identity::load_kept;
pub use level::{Level, LevelError};
pub use load::{LoadError, LoadOptions, Loaded, RuleError, files, load, load_text};
pub use lookup::{LookupError, Subject};
pub use needs::{AuditLevel, Needs, Stage, needs};
pub use outline::{Condition, Kind, Outline, outline};
pub use prefilter::{Asked, Known, Open};
pub use scratch::Scratch;
pub use set::{RuleIndex, RuleSet};
pub use sigma::{PlaceholderError, Placeholders, placeholders};
pub use taxonomy::taxonomy;

/// One compiled detection, from whichever dialect: what people are told about it.
/// Its logic stays inside the [`RuleSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its `id`; the title when the rule has none. Unique in its set.
    pub id: String,
    /// One line that names it.
    pub title: String,
    /// How bad a match is.
    pub level: Level,
    /// The language it is written in: `sigma` or `falco`.
    pub dialect: &'static str,
    /// ATT&CK and other tags, as written.
    pub tags: Vec<String>,
    /// What it finds and why that matters; may be empty.
    pub description: String,
    /// Its maturity, as written: `stable`, `test`, `experimental` and so on.
    pub status: Option<String>,
    /// What else looks like it.
    pub falsepositives: Vec<String>,
    /// Where to read on.
    pub references: Vec<String>,
    /// What to do about a match.
    pub runbook: Option<String>,
    /// Of a shipped rule, the smallest profile that has it.
    pub profile: Option<Profile>,
    /// The behaviours of the [catalogue] that it is about.
    pub behaviours: Vec<u16>,
    /// The file it came from.
    pub file: PathBuf,
    /// The line of that file its document starts on, from 1.
    pub line: u32,
    /// SHA-256, in hex, of the text it stands in; of a Falco rule also of its condition with
    /// macros and lists put in.
    pub hash: String,
    /// A Falco rule's priority, as Falco writes it: `Warning`. `level` follows from it.
    pub priority: Option<&'static str>,
    /// What a Falco rule says of an event, before the event's fields are put in.
    pub output: Option<String>,
    /// A Falco rule's condition with its macros, lists and exceptions put in.
    pub condition: Option<String>,
}
