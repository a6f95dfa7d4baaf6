//! Rules -> the hashes a finding names them by, and what of a rule set is kept so that the
//! finding can be made again years later.
//!
//! One rule: whatever changes what a set means changes its hash, also when no text changed.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::load::{LoadError, LoadOptions, Loaded, load_text};
use super::sigma::Placeholders;
use crate::config::RuleMatching;
use crate::hex::hex;

/// The name of the text that holds the options a set was loaded with. No rule file has it: its
/// ending is not one of theirs.
const OPTIONS: &str = "kustos-options.json";

/// The options that change what the same texts mean.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Meaning {
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    placeholders: Placeholders,
    #[serde(skip_serializing_if = "is_all")]
    rule_matching: RuleMatching,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_all(matching: &RuleMatching) -> bool {
    *matching == RuleMatching::All
}

impl Meaning {
    fn of(options: &LoadOptions) -> Meaning {
        let LoadOptions { placeholders, rule_matching, .. } = options;
        Meaning { placeholders: placeholders.clone(), rule_matching: *rule_matching }
    }

    fn options(self) -> LoadOptions {
        // Lenient: what was left out when the set was in force is left out again.
        let Meaning { placeholders, rule_matching } = self;
        LoadOptions { lenient: true, placeholders, rule_matching, ..LoadOptions::default() }
    }
}

/// The options as a text that is kept and hashed beside the rules'. `None`: they say nothing.
pub(super) fn options_text(options: &LoadOptions) -> Option<(String, String)> {
    let meaning = Meaning::of(options);
    if meaning == Meaning::default() {
        return None;
    }
    // Plain values only: writing them cannot fail.
    Some((OPTIONS.to_owned(), serde_json::to_string(&meaning).unwrap_or_default()))
}

/// Loads a rule set from the texts that [`RuleSet::texts`](super::RuleSet::texts) gave, in their order and by names that
/// end as theirs did: the same rules, with the same hashes.
///
/// # Errors
/// Never for what a rule says: rules that this version does not understand are listed in
/// [`Loaded::errors`].
pub fn load_kept<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> Result<Loaded, LoadError> {
    let mut meaning = Meaning::default();
    let mut rules = Vec::new();
    for (name, text) in texts {
        match serde_json::from_str(text) {
            Ok(kept) if name.ends_with(OPTIONS) => meaning = kept,
            _ => rules.push((name, text)),
        }
    }
    load_text(rules, &meaning.options())
}

/// The hash of one rule: of all that says what it is.
pub(super) fn rule(source: &str) -> String {
    hex(&Sha256::digest(source))
}

/// The hash of a set: of its texts, wherever their files lie. Sigma's documents mean the same in any order;
/// a Falco file changes what came before it, so the order of those counts.
pub(super) fn set(texts: &[(String, String)]) -> String {
    let texts = texts.iter().map(|(_, text)| text.as_str());
    let (ordered, mut sorted): (Vec<&str>, Vec<&str>) = texts.partition(|it| is_list(it));
    sorted.sort_unstable();
    let mut hasher = Sha256::new();
    for text in sorted.into_iter().chain(ordered) {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text);
    }
    hex(&hasher.finalize())
}

/// Whether a YAML text is a list, which only Falco's rule files are.
pub(super) fn is_list(text: &str) -> bool {
    let content = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "---"
    };
    text.lines().find(content).is_some_and(|it| it.trim_start().starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleSet;

    const RULE: &str = "title: T\nid: t\ndetection:\n  sel:\n    user.username|expand: '%admins%'\n  condition: sel\n";

    fn admins(names: &[&str]) -> RuleSet {
        let names = names.iter().map(|it| (*it).to_owned()).collect();
        let placeholders = Placeholders::from([("admins".to_owned(), names)]);
        let options = LoadOptions { placeholders, ..LoadOptions::default() };
        load_text([("t.yml", RULE)], &options).unwrap().rules
    }

    #[test]
    fn what_a_placeholder_stands_for_is_part_of_the_sets_hash() {
        assert_eq!(admins(&["alice"]).hash(), admins(&["alice"]).hash());
        assert_ne!(admins(&["alice"]).hash(), admins(&["mallory"]).hash());
    }

    #[test]
    fn a_set_that_was_kept_is_loaded_with_its_options_and_hashes() {
        let set = admins(&["alice"]);
        let kept = load_kept(set.texts()).unwrap();
        assert!(kept.errors.is_empty());
        assert_eq!(kept.rules.hash(), set.hash());
        assert_eq!(kept.rules.rules(), set.rules());
    }

    #[test]
    fn rule_matching_is_part_of_the_sets_hash_and_is_kept() {
        let load = |rule_matching| {
            let options = LoadOptions { rule_matching, ..LoadOptions::default() };
            let rule = RULE.replace("|expand: '%admins%'", ": eve");
            load_text([("t.yml", &*rule)], &options).unwrap().rules
        };
        let (all, first) = (load(RuleMatching::All), load(RuleMatching::First));
        assert_ne!(all.hash(), first.hash());
        assert_eq!(load_kept(first.texts()).unwrap().rules.hash(), first.hash());
    }

    #[test]
    fn the_order_of_files_counts_only_where_it_means_something() {
        let text = |it: &str| (String::new(), it.to_owned());
        let (sigma, falco, over) = (text("title: a"), text("- rule: a"), text("# x\n- rule: b"));
        let hash = |texts: &[&(String, String)]| {
            set(&texts.iter().map(|it| (*it).clone()).collect::<Vec<_>>())
        };
        assert_eq!(hash(&[&sigma, &falco, &over]), hash(&[&falco, &sigma, &over]));
        assert_ne!(hash(&[&sigma, &falco, &over]), hash(&[&sigma, &over, &falco]));
    }

    #[test]
    fn a_rules_hash_is_of_its_own_document() {
        let other = "title: U\nid: u\ndetection:\n  sel:\n    verb: get\n  condition: sel\n";
        let load =
            |text: &str| load_text([("t.yml", text)], &LoadOptions::default()).unwrap().rules;
        let alone = load(other);
        let both =
            load(&format!("{other}---\n{}", other.replace("U", "V").replace("id: u", "id: v")));
        let of = |set: &RuleSet, at: usize| set.rules().get(at).unwrap().hash.clone();
        assert_eq!(of(&alone, 0).len(), 64);
        assert_eq!(of(&alone, 0), of(&both, 0));
        assert_ne!(of(&both, 0), of(&both, 1));
        assert_ne!(of(&alone, 0), of(&load(&other.replace("get", "list")), 0));
    }
}
