//! What the placeholders (`%name%`) of Sigma rules stand for, as a user writes it: names, each
//! with a list of values. A name with `+` behind it adds to the list that is there.

use std::collections::BTreeMap;

/// What stands behind a name whose values are added to those it has.
pub const ADDS: char = '+';

/// Whether a rule can ask for this name.
pub fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(word)
}

/// Why these cannot be used: a name that no rule can ask for, or one that stands for nothing.
pub fn unusable(placeholders: &BTreeMap<String, Vec<String>>) -> Option<String> {
    placeholders.iter().find_map(|(name, values)| {
        if !is_name(name.strip_suffix(ADDS).unwrap_or(name)) {
            Some(format!("{name:?} is no name to ask for; use letters, digits, _, - and ."))
        } else if values.is_empty() {
            Some(format!("{name:?} stands for nothing; give it a value"))
        } else {
            None
        }
    })
}
