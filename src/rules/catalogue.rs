//! The catalogue of what attackers, and careless administrators, do to a cluster, and the rules that
//! find it. A behaviour that no rule can find says why.

use serde::{Deserialize, Serialize};

use super::Rule;
use super::coverage::By;
use super::embedded::CATALOGUE;

/// One behaviour, and what finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// By which rules name it, under `behaviours`.
    pub number: u16,
    /// What it is part of.
    pub chapter: String,
    /// What is done.
    pub behaviour: String,
    /// Why audit events do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// What of kustos finds it without a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_in: Option<String>,
    /// The rules that find it.
    #[serde(default)]
    pub rules: Vec<By>,
}

/// The catalogue is broken: a bug, which a test finds.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the catalogue of behaviours cannot be read")]
pub struct CatalogueError {
    line: usize,
    #[source]
    source: serde_json::Error,
}

impl Behaviour {
    /// Whether anything finds it.
    pub fn is_found(&self) -> bool {
        !self.rules.is_empty() || self.built_in.is_some()
    }

    /// What finds it, or why nothing does, in words.
    pub fn found_by(&self, named: impl Fn(&By) -> String) -> String {
        let rules: Vec<String> = self.rules.iter().map(named).collect();
        let built_in = self.built_in.as_ref().map(|it| format!("kustos itself: {it}"));
        let unseen = self.unseen.as_ref().map(|it| format!("not shown by audit events: {it}"));
        let told: Vec<String> = rules.into_iter().chain(built_in).chain(unseen).collect();
        told.join("; ")
    }
}

/// Every behaviour of the catalogue, with those of the rules that find it.
///
/// # Errors
/// When the catalogue in the binary is broken.
pub fn catalogue<'r>(
    rules: impl IntoIterator<Item = &'r Rule>,
) -> Result<Vec<Behaviour>, CatalogueError> {
    let mut behaviours = CATALOGUE
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let wrong = |source| CatalogueError { line: at + 1, source };
            serde_json::from_str(line).map_err(wrong)
        })
        .collect::<Result<Vec<Behaviour>, CatalogueError>>()?;
    for rule in rules {
        for behaviour in behaviours.iter_mut().filter(|it| rule.behaviours.contains(&it.number)) {
            behaviour.rules.push(By { id: rule.id.clone(), title: rule.title.clone() });
        }
    }
    Ok(behaviours)
}
