//! The configuration file, its schema and its documentation say the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::path::Path;

use kustos::cli::config::schema;
use kustos::config::Config;
use kustos::sink::{KINDS, build};
use serde_json::Value;

const SCHEMA: &str = "schemas/config.json";

#[test]
fn the_schema_in_the_tree_is_the_code_s() {
    let code = schema();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        let text = format!("{code:#}\n");
        kustos::durable::write(Path::new(SCHEMA), text.as_bytes()).unwrap();
    }
    // Compared as values: the order of keys is not the same in every build.
    let tree = std::fs::read_to_string(SCHEMA).unwrap_or_default();
    let tree: Value = serde_json::from_str(&tree).unwrap_or_default();
    assert!(tree == code, "{SCHEMA} is stale: UPDATE_SCHEMAS=1 cargo test --test config");
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_known() {
    let doc = std::fs::read_to_string("docs/configuration.md").unwrap();
    let listed: BTreeSet<String> = doc
        .lines()
        .filter_map(|it| it.strip_prefix("| `"))
        .filter_map(|it| it.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    let mut known = BTreeSet::new();
    let schema = schema();
    keys(&schema, &schema, "", &mut known);
    assert_eq!(listed, known);
}

/// Every key that holds a plain value, as `archive.dir`, `sources[file].path`, `webhook.url`.
fn keys(root: &Value, schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let schema = follow(root, schema);
    let common: Option<&[&str]> = match at {
        "sinks[]" => Some(&["kind", "name", "min_level"]),
        "sources[]" => Some(&["kind", "name", "cluster", "silence_max"]),
        _ => None,
    };
    let kinds = schema.get("oneOf").and_then(Value::as_array);
    if let Some((common, kinds)) = common.zip(kinds) {
        for kind in kinds {
            let kind = follow(root, kind);
            let name = kind["properties"]["kind"]["const"].as_str().unwrap();
            let own = if at == "sinks[]" { name.to_owned() } else { format!("sources[{name}]") };
            for (key, schema) in kind["properties"].as_object().unwrap() {
                let at = if common.contains(&key.as_str()) { at } else { &*own };
                keys(root, schema, &format!("{at}.{key}"), found);
            }
        }
    } else if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (key, schema) in properties {
            let dot = if at.is_empty() { "" } else { "." };
            keys(root, schema, &format!("{at}{dot}{key}"), found);
        }
    } else if let Some(items) = schema.get("items").filter(|it| is_block(root, it)) {
        keys(root, items, &format!("{at}[]"), found);
    } else {
        found.insert(at.to_owned());
    }
}

fn is_block(root: &Value, schema: &Value) -> bool {
    let schema = follow(root, schema);
    schema.get("properties").is_some() || schema.get("oneOf").is_some()
}

/// What a reference leads to; of what may be left out, what it is when it is there.
fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    // A block that may be left out is written as itself or null.
    let block = schema.get("anyOf").and_then(|it| it.get(0)).filter(|it| it.get("$ref").is_some());
    let schema = block.unwrap_or(schema);
    match schema.get("$ref").and_then(Value::as_str) {
        Some(place) => root.pointer(place.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[test]
fn the_examples_of_the_documentation_are_read_and_built() {
    let doc = std::fs::read_to_string("docs/configuration.md").unwrap();
    let mut blocks = 0;
    for block in doc.split("```yaml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let config = Config::parse(text, Path::new("kustos.yaml")).unwrap();
        build(&config.sinks).unwrap();
        assert_eq!(Config::parse(&config.shown(), Path::new("shown")).unwrap(), config);
        blocks += 1;
    }
    assert!(blocks >= 2);
    for kind in KINDS {
        assert!(doc.contains(kind.example), "the example of {} is not there", kind.name);
    }
}
