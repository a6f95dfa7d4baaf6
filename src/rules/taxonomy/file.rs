//! The tables as one YAML file, for people and programs without this one.

use serde::Serialize;

use super::meaning::flattened;
use super::{
    ANNOTATIONS, ANY_CONTAINER, AuditField, CONTAINERS, DERIVED, ECS, ECS_PREFIX, FIELDS, LOOSE,
    POD_SPEC, POD_SPECS, READ_AS, Stages, values_of,
};

const HEADER: &str = "\
# The names under which rules ask for the fields of an audit event; docs/taxonomy.md explains them.
# Written from src/rules/taxonomy: UPDATE_SCHEMAS=1 cargo test --test schemas
";

/// What `schemas/taxonomy.yaml` holds: every name that rules may use, as YAML.
pub fn taxonomy() -> String {
    let file = File {
        fields: FIELDS.iter().map(Field::of).collect(),
        annotations: ANNOTATIONS.iter().map(|(key, what)| Named { name: key, what }).collect(),
        pod_specs: Pods {
            name: format!("{POD_SPEC}.X"),
            places: POD_SPECS.iter().map(|it| format!("requestObject.{it}.X")).collect(),
            any_container: Containers {
                name: format!("{POD_SPEC}.{ANY_CONTAINER}.X"),
                places: CONTAINERS.iter().map(|it| format!("{POD_SPEC}.{it}.X")).collect(),
            },
        },
        computed: DERIVED
            .iter()
            .map(|(name, derived, what)| Computed { name, values: values_of(*derived), what })
            .collect(),
        loose: LOOSE.iter().map(alias).collect(),
        ecs: Ecs {
            names: ECS.iter().map(alias).collect(),
            raw: Prefix {
                name: format!("{ECS_PREFIX}.X"),
                is: "X",
                but: "in the keys of annotations every dot is written as `_`",
            },
        },
        read_as: READ_AS
            .iter()
            .map(|it| ReadAs { field: it.field, value: it.value, is: flattened(it.target) })
            .collect(),
    };
    // Strings, lists and maps of them: there is nothing that YAML could refuse.
    let body = yaml_serde::to_string(&file).unwrap_or_default();
    format!("{HEADER}{body}")
}

#[derive(Serialize)]
struct File {
    fields: Vec<Field>,
    annotations: Vec<Named>,
    pod_specs: Pods,
    computed: Vec<Computed>,
    loose: Vec<Alias>,
    ecs: Ecs,
    read_as: Vec<ReadAs>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    r#type: &'static str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_at: Option<&'static str>,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    values: &'static [&'static str],
    what: &'static str,
}

impl Field {
    fn of(field: &AuditField) -> Field {
        Field {
            name: flattened(field.path),
            r#type: field.kind.name(),
            level: field.level.as_str(),
            not_at: (field.stages == Stages::Answered).then_some("RequestReceived"),
            values: field.values,
            what: field.what,
        }
    }
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    what: &'static str,
}

#[derive(Serialize)]
struct Pods {
    name: String,
    places: Vec<String>,
    any_container: Containers,
}

#[derive(Serialize)]
struct Containers {
    name: String,
    places: Vec<String>,
}

#[derive(Serialize)]
struct Computed {
    name: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    values: &'static [&'static str],
    what: &'static str,
}

#[derive(Serialize)]
struct Alias {
    name: &'static str,
    is: String,
}

fn alias((name, target): &(&'static str, &'static str)) -> Alias {
    Alias { name, is: flattened(target) }
}

#[derive(Serialize)]
struct Ecs {
    names: Vec<Alias>,
    raw: Prefix,
}

#[derive(Serialize)]
struct Prefix {
    name: String,
    is: &'static str,
    but: &'static str,
}

#[derive(Serialize)]
struct ReadAs {
    field: &'static str,
    value: &'static str,
    is: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::taxonomy::AuditLevel;

    /// One test for all tables: what is not in the document does not exist for a user.
    #[test]
    fn the_document_shows_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/taxonomy.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut rows: Vec<String> = Vec::new();
        rows.extend(FIELDS.iter().map(|it| {
            let level = if it.level == AuditLevel::Metadata { "" } else { it.level.as_str() };
            let stages = if it.stages == Stages::Every { "" } else { "no" };
            let values: Vec<String> = it.values.iter().map(|it| format!("`{it}`")).collect();
            let values = if values.is_empty() { String::new() } else { values.join(" ") + ": " };
            let (name, kind) = (flattened(it.path), it.kind.name());
            format!("| `{name}` | {kind} | {level} | {stages} | {values}{} |", it.what)
        }));
        rows.extend(ANNOTATIONS.iter().map(|(key, what)| format!("| `{key}` | {what} |")));
        rows.extend(DERIVED.iter().map(|(name, _, what)| format!("| `{name}` | {what} |")));
        let names = LOOSE.iter().chain(ECS);
        rows.extend(names.map(|(name, target)| format!("| `{name}` | `{}` |", flattened(target))));
        rows.extend(POD_SPECS.iter().map(|place| format!("| `requestObject.{place}` |")));
        rows.extend(READ_AS.iter().map(|it| {
            format!("| `{}: {}` | `{}: {}` |", it.field, it.value, flattened(it.target), it.value)
        }));
        let missing: Vec<&String> = rows.iter().filter(|it| !text.contains(*it)).collect();
        assert!(missing.is_empty(), "docs/taxonomy.md lacks:\n{missing:#?}");
    }
}
