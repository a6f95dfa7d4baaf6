//! What a file requires of the engine and its plugins: checked for form and taken note of.
//! Which Falco a rule was written for says nothing about this engine.

use std::collections::BTreeSet;

use super::document::{Entry, Node};
use super::fault::FalcoFault;
use super::request::{Blame, scalar};

/// `required_engine_version`: a number, or a version of three.
pub(super) fn engine(entry: &Entry<'_>) -> Result<(), Blame> {
    let key = "required_engine_version";
    let blame = |fault| (entry.key(key), fault);
    let text = scalar(&entry.node, key).map_err(blame)?.unwrap_or_default();
    if text.parse::<u32>().is_ok() || version(text) {
        Ok(())
    } else {
        Err(blame(FalcoFault::EngineVersion(text.to_owned())))
    }
}

/// `required_plugin_versions`: plugins, each with alternatives.
pub(super) fn plugins(entry: &Entry<'_>) -> Result<(), Blame> {
    let key = "required_plugin_versions";
    let blame = |fault| (entry.key(key), fault);
    let Some(Node::Sequence(plugins)) = entry.node.get(key) else {
        return Err(blame(FalcoFault::Kind(key, "list")));
    };
    for required in plugins {
        let mut known = BTreeSet::new();
        plugin(required, &mut known).map_err(blame)?;
        let alternatives = match required.get("alternatives") {
            None => &Vec::new(),
            Some(Node::Sequence(alternatives)) => alternatives,
            Some(_) => return Err(blame(FalcoFault::Kind("alternatives", "list"))),
        };
        for alternative in alternatives {
            plugin(alternative, &mut known).map_err(blame)?;
        }
    }
    Ok(())
}

fn plugin<'n>(node: &'n Node, known: &mut BTreeSet<&'n str>) -> Result<(), FalcoFault> {
    if !matches!(node, Node::Mapping(_)) {
        return Err(FalcoFault::Kind("required_plugin_versions", "list of names and versions"));
    }
    let name = scalar(node, "name")?.ok_or(FalcoFault::Missing("name"))?;
    let text = scalar(node, "version")?.ok_or(FalcoFault::Missing("version"))?;
    if !version(text) {
        let (plugin, version) = (name.to_owned(), text.to_owned());
        return Err(FalcoFault::PluginVersion { plugin, version });
    }
    if known.insert(name) { Ok(()) } else { Err(FalcoFault::PluginTwice(name.to_owned())) }
}

/// Whether a text is `x.y.z`, with or without a suffix for a pre-release or a build.
fn version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = numbers.split('.').collect();
    parts.len() == 3 && parts.iter().all(|it| it.parse::<u32>().is_ok())
}
