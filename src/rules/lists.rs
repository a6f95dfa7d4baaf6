//! Files of lists among the rules: what placeholders (`%name%`) stand for, where a site keeps it
//! beside its rules, and as it is shipped.
//!
//! One rule: the later word counts. A list that is given anew replaces the one before it; with `+`
//! behind its name it adds to it.

use std::path::PathBuf;

use serde::Deserialize;

use super::sigma::{self, Placeholders};
use crate::config::placeholders::ADDS;

/// The key that a file of lists begins with, and no rule.
const KEY: &str = "lists:";

/// Whether a YAML text is a file of lists.
pub(super) fn is_lists(text: &str) -> bool {
    let content = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "---"
    };
    text.lines().find(content).is_some_and(|it| it.starts_with(KEY))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    lists: Placeholders,
}

/// What the files that were read say, the later over the earlier.
#[derive(Debug, Default)]
pub(super) struct Lists(Placeholders);

impl Lists {
    /// Reads a file; `Err` says what is wrong with it.
    pub(super) fn read(&mut self, text: &str) -> Result<(), String> {
        let File { lists } = sigma::lists(text, |it: &File| &it.lists)?;
        self.put(&lists);
        Ok(())
    }

    fn put(&mut self, lists: &Placeholders) {
        for (name, values) in lists {
            match name.strip_suffix(ADDS) {
                Some(name) => self.0.entry(name.to_owned()).or_default().extend_from_slice(values),
                None => drop(self.0.insert(name.clone(), values.clone())),
            }
        }
    }

    /// These, and over them what the user names on the command line or in the configuration.
    pub(super) fn with(mut self, given: &Placeholders) -> Lists {
        self.put(given);
        self
    }

    /// Those that a rule asks for. What nobody asks for is no part of a set, nor of its hash.
    pub(super) fn asked_for(self, rules: &[(PathBuf, String)]) -> Placeholders {
        let asked = |name: &str| {
            let name = format!("%{name}%");
            rules.iter().any(|(_, text)| text.contains(&name))
        };
        self.0.into_iter().filter(|(name, _)| asked(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(texts: &[&str]) -> Placeholders {
        let mut lists = Lists::default();
        texts.iter().for_each(|it| lists.read(it).unwrap());
        let rules = [(PathBuf::new(), "%a% %b%".to_owned())];
        lists.asked_for(&rules)
    }

    #[test]
    fn a_later_list_replaces_or_adds() {
        let first = "# shipped\nlists:\n  a: [x]\n  b: [y]\n  c: [z]\n";
        let read = lists(&[first, "lists: { a: [u], b+: [v] }"]);
        assert_eq!(read["a"], ["u"]);
        assert_eq!(read["b"], ["y", "v"]);
        assert!(!read.contains_key("c"), "nobody asks for it");
    }

    #[test]
    fn what_is_no_file_of_lists_is_told() {
        assert!(is_lists("# a\n---\nlists:\n  a: [x]\n") && !is_lists("title: lists:\n"));
        for (text, want) in [
            ("lists: [a]", "it needs names, each with a list of texts"),
            ("lists: { a: [] }", "stands for nothing"),
            ("lists: { 'a b': [x] }", "is no name to ask for"),
            ("lists: { a: [x] }\ntitle: t", "unknown field"),
        ] {
            let why = Lists::default().read(text).unwrap_err();
            assert!(why.contains(want), "{text}: {why}");
        }
    }
}
