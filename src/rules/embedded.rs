//! The shipped rules, lists and catalogue, part of the binary.

use super::load::{LoadError, LoadOptions, load};
use super::{Profile, RuleSet};

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The shipped rules of a profile. An error is a bug: a test loads them.
pub fn shipped(profile: Profile) -> Result<RuleSet, LoadError> {
    load(&[], &LoadOptions { shipped: Some(profile), ..LoadOptions::default() }).map(|it| it.rules)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rules::sigma;

    fn ids(profile: Profile) -> BTreeSet<String> {
        let rules = shipped(profile).unwrap_or_else(|error| panic!("{error}"));
        assert!(rules.subjects().all(|(_, it)| it.profile.is_none_or(|it| it <= profile)));
        rules.subjects().map(|(_, it)| it.id.clone()).collect()
    }

    #[test]
    fn each_profile_has_what_the_smaller_ones_have_and_more() {
        let ids: Vec<BTreeSet<String>> = Profile::ALL.into_iter().map(ids).collect();
        for pair in ids.windows(2) {
            let [small, large] = pair else { continue };
            assert!(small.is_subset(large) && small.len() < large.len());
        }
    }

    #[test]
    fn every_shipped_file_names_its_profile() {
        for (name, text) in SHIPPED {
            assert!(sigma::profile_of(text).is_some(), "{name} names no profile");
        }
    }
}
