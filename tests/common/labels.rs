//! What the labels of the genuine logs say: which requests belong to which scenario.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The runs whose requests are labelled.
pub(crate) const RUNS: [&str; 4] = ["A-metadata", "B-mixed", "E-request-stages-gz", "F-rare"];

/// A label of what the administrator did to set the cluster up: neither attack nor look-alike.
pub(crate) const BOOTSTRAP: &str = "cluster_bootstrap";

/// A scenario that was played, with the audit IDs of its requests.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) benign: bool,
    /// What a rule has to find, of an attack.
    pub(crate) flagged: BTreeSet<String>,
    /// These, and what was done around them.
    pub(crate) all: BTreeSet<String>,
}

/// The scenarios of a run, in the order in which they were played.
pub(crate) fn scenarios(corpus: &Path, run: &str) -> Vec<Scenario> {
    let text = fs::read_to_string(corpus.join("labels.jsonl")).unwrap();
    let labels = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    labels.filter(|it| it["run"] == run).map(|it| scenario(&it)).collect()
}

fn scenario(label: &Value) -> Scenario {
    let ids = |key: &str| {
        let ids = label[key].as_array().unwrap().iter();
        ids.map(|it| it.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let flagged = ids("audit_ids");
    let mut all = ids("context_audit_ids");
    all.extend(flagged.iter().cloned());
    let requests = label["requests"].as_array().unwrap().iter();
    all.extend(requests.filter_map(|it| it["auditID"].as_str().map(str::to_owned)));
    Scenario {
        name: label["scenario"].as_str().unwrap().to_owned(),
        benign: label["benign"].as_bool().unwrap(),
        flagged,
        all,
    }
}
