//! Rules' tags -> which parts of MITRE ATT&CK and of the HIPAA Security Rule they cover.
//!
//! Techniques are told by the form of their tags alone; no matrix is built in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Level, Rule};

/// The tactics of ATT&CK for Enterprise, in the order of its matrix.
const TACTICS: [(&str, &str); 14] = [
    ("reconnaissance", "Reconnaissance"),
    ("resource-development", "Resource Development"),
    ("initial-access", "Initial Access"),
    ("execution", "Execution"),
    ("persistence", "Persistence"),
    ("privilege-escalation", "Privilege Escalation"),
    ("defense-evasion", "Defense Evasion"),
    ("credential-access", "Credential Access"),
    ("discovery", "Discovery"),
    ("lateral-movement", "Lateral Movement"),
    ("collection", "Collection"),
    ("command-and-control", "Command and Control"),
    ("exfiltration", "Exfiltration"),
    ("impact", "Impact"),
];

/// Parts of 45 CFR 164 that audit events can speak to, by the form of their tags. Those of
/// the technical safeguards (164.312) are listed also where no rule covers them.
const SAFEGUARDS: [(&str, &str); 29] = [
    ("164.308-a-1-ii-a", "Risk analysis"),
    ("164.308-a-1-ii-b", "Risk management"),
    ("164.308-a-1-ii-d", "Information system activity review"),
    ("164.308-a-3", "Workforce security"),
    ("164.308-a-3-ii-a", "Authorization and supervision"),
    ("164.308-a-3-ii-b", "Workforce clearance procedure"),
    ("164.308-a-3-ii-c", "Termination procedures"),
    ("164.308-a-4", "Information access management"),
    ("164.308-a-4-ii-b", "Access authorization"),
    ("164.308-a-4-ii-c", "Access establishment and modification"),
    ("164.308-a-5-ii-b", "Protection from malicious software"),
    ("164.308-a-5-ii-c", "Log-in monitoring"),
    ("164.308-a-5-ii-d", "Password management"),
    ("164.308-a-6", "Security incident procedures"),
    ("164.308-a-6-ii", "Response and reporting"),
    ("164.308-a-7", "Contingency plan"),
    ("164.308-a-8", "Evaluation"),
    ("164.312-a-1", "Access control"),
    ("164.312-a-2-i", "Unique user identification"),
    ("164.312-a-2-ii", "Emergency access procedure"),
    ("164.312-a-2-iii", "Automatic logoff"),
    ("164.312-a-2-iv", "Encryption and decryption"),
    ("164.312-b", "Audit controls"),
    ("164.312-c-1", "Integrity"),
    ("164.312-c-2", "Mechanism to authenticate health information"),
    ("164.312-d", "Person or entity authentication"),
    ("164.312-e-1", "Transmission security"),
    ("164.312-e-2-i", "Integrity controls"),
    ("164.312-e-2-ii", "Encryption of transmissions"),
];

/// What every tag of a technical safeguard begins with.
const TECHNICAL: &str = "164.312-";

/// What the rules of a set cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Every tactic, in the order of the matrix.
    pub tactics: Vec<Covered>,
    /// The techniques that rules name, by their number.
    pub techniques: Vec<Covered>,
    /// The technical safeguards, and what else of 45 CFR 164 rules name.
    pub hipaa: Vec<Covered>,
    /// Rules that name no technique: their ids.
    pub without_technique: Vec<String>,
    /// Tags that look like one of these and are none.
    pub unknown_tags: Vec<Covered>,
}

/// One thing that may be covered, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// `T1610`, `privilege-escalation`, `164.312(a)(1)`.
    pub id: String,
    /// Its name; empty where none is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The worst level among the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The rules that name it, in their order.
    pub rules: Vec<By>,
}

/// A rule that covers something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The rule's id.
    pub id: String,
    /// Its title.
    pub title: String,
}

/// What one tag names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Tactic(String),
    Technique(String),
    Safeguard(String),
    /// It begins like one of these and names none.
    Unknown(String),
}

/// What these rules cover.
pub fn coverage<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Coverage {
    let mut found: BTreeMap<Named, Covered> = BTreeMap::new();
    for (tactic, name) in TACTICS {
        found.insert(Named::Tactic(tactic.to_owned()), Covered::none(tactic, name));
    }
    for (safeguard, name) in SAFEGUARDS.iter().filter(|(it, _)| it.starts_with(TECHNICAL)) {
        let covered = Covered::none(&cited(safeguard), name);
        found.insert(Named::Safeguard((*safeguard).to_owned()), covered);
    }
    let mut without_technique = Vec::new();
    for rule in rules {
        let named: Vec<Named> = rule.tags.iter().filter_map(|it| named(it)).collect();
        if !named.iter().any(|it| matches!(it, Named::Technique(_))) {
            without_technique.push(rule.id.clone());
        }
        for named in named {
            let covered = Covered::unnamed(&named);
            found.entry(named).or_insert(covered).add(rule);
        }
    }
    sorted(found, without_technique)
}

fn sorted(found: BTreeMap<Named, Covered>, without_technique: Vec<String>) -> Coverage {
    let mut coverage = Coverage {
        tactics: Vec::new(),
        techniques: Vec::new(),
        hipaa: Vec::new(),
        without_technique,
        unknown_tags: Vec::new(),
    };
    for (named, covered) in found {
        match named {
            Named::Tactic(_) => coverage.tactics.push(covered),
            Named::Technique(_) => coverage.techniques.push(covered),
            Named::Safeguard(_) => coverage.hipaa.push(covered),
            Named::Unknown(_) => coverage.unknown_tags.push(covered),
        }
    }
    let place = |it: &Covered| TACTICS.iter().position(|(tactic, _)| *tactic == it.id);
    coverage.tactics.sort_by_key(place);
    coverage
}

impl Covered {
    fn none(id: &str, name: &str) -> Covered {
        Covered { id: id.to_owned(), name: name.to_owned(), level: None, rules: Vec::new() }
    }

    fn unnamed(named: &Named) -> Covered {
        match named {
            Named::Safeguard(tag) => {
                let name = SAFEGUARDS.iter().find(|(it, _)| it == tag).map_or("", |(_, it)| it);
                Covered::none(&cited(tag), name)
            }
            Named::Tactic(id) | Named::Technique(id) | Named::Unknown(id) => Covered::none(id, ""),
        }
    }

    /// Adds a rule, once.
    fn add(&mut self, rule: &Rule) {
        if self.rules.last().is_none_or(|it| it.id != rule.id) {
            self.rules.push(By { id: rule.id.clone(), title: rule.title.clone() });
            self.level = self.level.max(Some(rule.level));
        }
    }
}

/// What a tag of Sigma (`attack.t1610`, `attack.privilege_escalation`, `hipaa.164.312-b`) or
/// of Falco (`T1610`, `mitre_privilege_escalation`) names; `None`: something else.
fn named(tag: &str) -> Option<Named> {
    let tag = tag.to_lowercase();
    if let Some(safeguard) = tag.strip_prefix("hipaa.") {
        let known = safeguard.starts_with("164.") && safeguard.contains('-');
        let tag = if known { safeguard.to_owned() } else { tag.clone() };
        return Some(if known { Named::Safeguard(tag) } else { Named::Unknown(tag) });
    }
    if is_technique(&tag) {
        return Some(Named::Technique(tag.to_uppercase()));
    }
    let name = tag.strip_prefix("attack.").or_else(|| tag.strip_prefix("mitre_"))?;
    let tactic = name.replace('_', "-");
    Some(if is_technique(name) {
        Named::Technique(name.to_uppercase())
    } else if TACTICS.iter().any(|(it, _)| *it == tactic) {
        Named::Tactic(tactic)
    } else if is_group_or_software(name) {
        return None;
    } else {
        Named::Unknown(tag)
    })
}

/// `t1610` or `t1098.006`.
fn is_technique(text: &str) -> bool {
    let (technique, part) = text.split_once('.').unwrap_or((text, "000"));
    let number = technique.strip_prefix('t').unwrap_or_default();
    digits(number, 4) && digits(part, 3)
}

/// `g0016` or `s0002`: who or with what, and not how.
fn is_group_or_software(text: &str) -> bool {
    text.strip_prefix(['g', 's']).is_some_and(|it| digits(it, 4))
}

fn digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|it| it.is_ascii_digit())
}

/// A tag as the regulation is cited: `164.308-a-1-ii-d` is 164.308(a)(1)(ii)(D).
fn cited(tag: &str) -> String {
    let mut parts = tag.split('-');
    let mut cited = parts.next().unwrap_or_default().to_owned();
    for (depth, part) in parts.enumerate() {
        // Paragraphs go a, 1, ii, D.
        let part = if depth == 3 { part.to_uppercase() } else { part.to_owned() };
        cited.extend(["(", &part, ")"]);
    }
    cited
}

/// The version of the layer format that [`navigator_layer`] writes.
const LAYER_VERSION: &str = "4.5";

/// The techniques as a layer of the ATT&CK Navigator: the score of each is its number of rules.
/// See <https://github.com/mitre-attack/attack-navigator/tree/master/layers>.
pub fn navigator_layer(coverage: &Coverage, name: &str) -> Value {
    let most = coverage.techniques.iter().map(|it| it.rules.len()).max().unwrap_or(0);
    let techniques: Vec<Value> = coverage.techniques.iter().map(technique).collect();
    json!({
        "name": name,
        "versions": { "attack": "17", "navigator": "5.1.0", "layer": LAYER_VERSION },
        "domain": "enterprise-attack",
        "description": "Techniques that the rules name; the score is the number of rules",
        "sorting": 3,
        "hideDisabled": false,
        "techniques": techniques,
        "gradient": {
            "colors": ["#ffffff", "#66b1ff"],
            "minValue": 0,
            "maxValue": most.max(1),
        },
        "showTacticRowBackground": false,
        "selectTechniquesAcrossTactics": true,
        "selectSubtechniquesWithParent": false,
    })
}

fn technique(covered: &Covered) -> Value {
    let titles: Vec<&str> = covered.rules.iter().map(|it| it.title.as_str()).collect();
    json!({
        "techniqueID": covered.id,
        "score": covered.rules.len(),
        "comment": titles.join("\n"),
        "enabled": true,
        // A technique opens to show those of its parts that are covered.
        "showSubtechniques": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, Profile, load_text, shipped};

    fn of(rules: &[&str]) -> Coverage {
        let rule = |(at, tags): (usize, &&str)| {
            format!(
                "title: R{at}\nid: r{at}\nlevel: high\ntags: {tags}\ndetection:\n  a:\n    verb: x\n  condition: a\n"
            )
        };
        let text: Vec<String> = rules.iter().enumerate().map(rule).collect();
        let rules = load_text([("t.yml", &*text.join("---\n"))], &LoadOptions::default());
        coverage(rules.unwrap().rules.rules())
    }

    fn ids(covered: &[Covered]) -> Vec<(&str, usize)> {
        let covered = covered.iter().filter(|it| !it.rules.is_empty());
        covered.map(|it| (it.id.as_str(), it.rules.len())).collect()
    }

    #[test]
    fn tags_of_both_dialects_are_counted() {
        let coverage = of(&[
            "[attack.t1098.006, attack.privilege_escalation, attack.privilege-escalation, hipaa.164.312-b]",
            "[T1098.006, T1610, mitre_persistence, hipaa.164.308-a-1-ii-d, attack.g0016, k8s]",
            "[attack.t16, attack.nonsense, hipaa.x]",
        ]);
        assert_eq!(ids(&coverage.techniques), [("T1098.006", 2), ("T1610", 1)]);
        assert_eq!(ids(&coverage.tactics), [("persistence", 1), ("privilege-escalation", 1)]);
        assert_eq!(ids(&coverage.hipaa), [("164.308(a)(1)(ii)(D)", 1), ("164.312(b)", 1)]);
        assert_eq!(
            ids(&coverage.unknown_tags),
            [("attack.nonsense", 1), ("attack.t16", 1), ("hipaa.x", 1)]
        );
        assert_eq!(coverage.without_technique, ["r2"]);
        assert_eq!(coverage.techniques[0].level, Some(Level::High));
    }

    #[test]
    fn what_nothing_covers_is_listed_as_well() {
        let coverage = of(&["[]"]);
        assert_eq!((coverage.tactics.len(), coverage.hipaa.len()), (TACTICS.len(), 12));
        assert_eq!(coverage.tactics[0].id, "reconnaissance");
        let known = coverage.hipaa.iter().find(|it| it.id == "164.312(a)(2)(iii)").unwrap();
        assert_eq!((known.name.as_str(), known.rules.len()), ("Automatic logoff", 0));
    }

    #[test]
    fn every_tag_of_the_shipped_rules_names_something_known() {
        let coverage = coverage(shipped(Profile::Paranoid).unwrap().rules());
        assert_eq!(coverage.unknown_tags, []);
        assert_eq!(coverage.without_technique, Vec::<String>::new());
        assert!(coverage.hipaa.iter().all(|it| !it.name.is_empty()), "{:?}", coverage.hipaa);
    }

    #[test]
    fn the_layer_has_what_the_navigator_reads() {
        let layer = navigator_layer(&of(&["[attack.t1610]", "[attack.t1610, attack.t1611]"]), "n");
        assert_eq!(
            (&layer["versions"]["layer"], &layer["domain"]),
            (&json!("4.5"), &json!("enterprise-attack"))
        );
        let first = &layer["techniques"][0];
        assert_eq!((&first["techniqueID"], &first["score"]), (&json!("T1610"), &json!(2)));
        assert_eq!(first["comment"], "R0\nR1");
        assert_eq!(layer["gradient"]["maxValue"], 2);
    }
}
