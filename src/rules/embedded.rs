//! The rules that ship with the program, compiled into it by `build.rs`.

use super::load::{LoadError, LoadOptions, load};
use super::set::RuleSet;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The shipped rules. An error is a bug: a test loads them.
pub fn shipped() -> Result<RuleSet, LoadError> {
    load(&[], &LoadOptions { shipped: true, ..LoadOptions::default() }).map(|it| it.rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_rules_load() {
        let rules = shipped().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rules.texts().count(), SHIPPED.len());
    }
}
