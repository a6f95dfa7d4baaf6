//! `schemas/events.json` says what table `events` is made of, for whoever reads the files without kustos;
//! `schemas/taxonomy.yaml` which names rules may use, for whoever writes them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::path::Path;

use arrow::datatypes::DataType;
use kustos::archive::schema::{CUTS, Form, VERBATIM, events};
use serde_json::{Value, json};

const SCHEMA: &str = "schemas/events.json";

const TAXONOMY: &str = "schemas/taxonomy.yaml";

#[test]
fn the_schema_in_the_tree_is_the_code_s() {
    let old = tree();
    let described: BTreeMap<&str, &str> = old["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| Some((it["name"].as_str()?, it["description"].as_str()?)))
        .collect();
    let code = schema(&described);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        let text = format!("{code:#}\n");
        kustos::durable::write(Path::new(SCHEMA), text.as_bytes()).unwrap();
    }
    let lacking: Vec<&str> = code["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| it["description"] == "")
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert!(lacking.is_empty(), "{SCHEMA}: describe {lacking:?}");
    assert!(tree() == code, "{SCHEMA} is stale: UPDATE_SCHEMAS=1 cargo test --test schemas");
}

#[test]
fn the_taxonomy_in_the_tree_is_the_code_s() {
    let code = kustos::rules::taxonomy();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        kustos::durable::write(Path::new(TAXONOMY), code.as_bytes()).unwrap();
    }
    let tree = std::fs::read_to_string(TAXONOMY).unwrap_or_default();
    assert!(tree == code, "{TAXONOMY} is stale: UPDATE_SCHEMAS=1 cargo test --test schemas");
}

fn tree() -> Value {
    let text = std::fs::read_to_string(SCHEMA).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// The schema as the code has it; the descriptions are written by hand, in the file.
fn schema(described: &BTreeMap<&str, &str>) -> Value {
    let columns: Vec<Value> = events()
        .fields()
        .iter()
        .map(|field| {
            let name = field.name().as_str();
            let mut column = json!({
                "name": name, "type": kind(field.data_type()), "nullable": field.is_nullable(),
                "description": described.get(name).copied().unwrap_or_default(),
            });
            if let Some(cut) = CUTS.iter().find(|it| it.name == name) {
                column["mark"] = cut.mark.into();
                column["path"] = cut.field.path().into();
                column["form"] = form(cut.form).into();
            }
            column
        })
        .collect();
    json!({
        "title": "kustos events",
        "description": "The columns of every Parquet file of an archive, parts and segments alike, in their order. \
            `mark` is the byte that stands for the column's value in `skeleton`; `form` says how the value is written \
            in its place, `path` where it stands in an audit event. docs/archive-format.md explains both.",
        "verbatim": VERBATIM,
        "columns": columns,
    })
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Text => "text",
        Form::Json => "json",
        Form::List => "list",
        Form::Int => "int",
        Form::Time => "time",
    }
}

fn kind(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Int32 => "int32".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::Timestamp(_, zone) => {
            format!("timestamp[us, {}]", zone.as_deref().unwrap_or("local"))
        }
        DataType::List(item) => format!("list<{}>", self::kind(item.data_type())),
        other => panic!("give {other} a name in schemas/events.json"),
    }
}
