//! What a rule's field name stands for in an audit event, and what a name that stands
//! for nothing was probably meant to be.

use super::audit::Kind;
use super::pods::{CONTAINER_FIELDS, CONTAINER_SECURITY, CONTAINERS, POD_FIELDS, POD_SPECS};
use super::words::FIELD_MISTAKES;
use super::{
    ANNOTATIONS, ANY_CONTAINER, AuditField, AuditLevel, DERIVED, ECS, ECS_PREFIX, FIELDS, LOOSE,
    POD_SPEC, Stages, values_of,
};
use crate::rules::derived::Derived;
use crate::rules::path::Path;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(in crate::rules) struct Meaning {
    /// The raw or computed path, without backslashes.
    pub(in crate::rules) path: String,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Field(&'static AuditField),
    /// A path below a field whose keys others choose.
    Below(&'static AuditField),
    Computed(Derived),
}

impl Meaning {
    /// The least level whose events carry it.
    pub(in crate::rules) fn level(&self) -> AuditLevel {
        match self.source {
            Source::Field(field) | Source::Below(field) => field.level,
            Source::Computed(_) => AuditLevel::Metadata,
        }
    }

    /// The stages whose events carry it.
    pub(in crate::rules) fn stages(&self) -> Stages {
        match self.source {
            Source::Field(field) | Source::Below(field) => field.stages,
            // They are read out of the authorizer's annotations.
            Source::Computed(
                Derived::RbacRole
                | Derived::RbacRoleKind
                | Derived::RbacBinding
                | Derived::FailedOpen
                | Derived::Outcome,
            ) => Stages::Answered,
            Source::Computed(_) => Stages::Every,
        }
    }

    /// Everything it can be; empty when that is no closed set.
    pub(in crate::rules) fn values(&self) -> &'static [&'static str] {
        match self.source {
            Source::Field(field) => field.values,
            Source::Below(_) => &[],
            Source::Computed(derived) => values_of(derived),
        }
    }

    /// Whether it lies below a field whose keys others choose: it may be there or not.
    pub(in crate::rules) fn is_free(&self) -> bool {
        matches!(self.source, Source::Below(_))
    }

    /// Whether it is an HTTP status.
    pub(in crate::rules) fn is_code(&self) -> bool {
        matches!(self.source, Source::Field(AuditField { kind: Kind::Code, .. }))
    }

    /// Whether it is an object, which no value equals.
    pub(in crate::rules) fn is_object(&self) -> bool {
        let object = |it: &AuditField| matches!(it.kind, Kind::Object | Kind::Free);
        matches!(self.source, Source::Field(field) if object(field))
    }
}

/// What a name stands for; `None` when no audit event has such a field.
pub(in crate::rules) fn meaning(name: &str) -> Option<Meaning> {
    let path = Path::parse(name);
    let flat = path.flat();
    let means = |source| Some(Meaning { path: flat.clone(), source });
    if let Some(field) = FIELDS.iter().find(|it| flattened(it.path) == flat) {
        return means(Source::Field(field));
    }
    if let Some((_, derived, _)) = DERIVED.iter().find(|(it, _, _)| *it == flat) {
        return means(Source::Computed(*derived));
    }
    if let Some((_, target)) = LOOSE.iter().find(|(it, _)| *it == flat) {
        return meaning(target);
    }
    match ecs(name) {
        Some(Ecs::Name(target)) => return meaning(&target),
        Some(Ecs::Annotation(key)) => return meaning(&format!("annotations.{key}")),
        None => {}
    }
    let below = |it: &&AuditField| it.kind == Kind::Free && path.starts_with(it.path);
    if path.first() == Some(POD_SPEC) && path.len() > 1 {
        let body = FIELDS.iter().find(|it| it.path == "requestObject")?;
        return means(Source::Below(body));
    }
    FIELDS.iter().find(below).and_then(|it| means(Source::Below(it)))
}

/// What a name of Elastic's leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) enum Ecs {
    /// The field of that name.
    Name(String),
    /// The annotation whose key is this once every dot of it is a `_`.
    Annotation(String),
}

/// What a name of Elastic's leads to; `None` when it is none.
pub(in crate::rules) fn ecs(name: &str) -> Option<Ecs> {
    if let Some((_, target)) = ECS.iter().find(|(it, _)| *it == name) {
        return Some(Ecs::Name((*target).to_owned()));
    }
    let raw = name.strip_prefix(ECS_PREFIX)?.strip_prefix('.').filter(|it| !it.is_empty())?;
    let Some(key) = raw.strip_prefix("annotations.") else {
        return Some(Ecs::Name(raw.to_owned()));
    };
    let key = flattened(key).replace('.', "_");
    let known =
        FIELDS.iter().filter_map(|it| Some((it.path, it.path.strip_prefix("annotations.")?)));
    let known = known.map(|(path, key)| (path.to_owned(), flattened(key)));
    let listed = ANNOTATIONS.iter().map(|(key, _)| (format!("annotations.{}", escaped(key)), *key));
    let listed = listed.map(|(path, key)| (path, key.to_owned()));
    let found = known.chain(listed).find(|(_, it)| it.replace('.', "_") == key);
    Some(found.map_or(Ecs::Annotation(key), |(path, _)| Ecs::Name(path)))
}

/// A path's keys joined by dots, without the backslashes.
pub(super) fn flattened(path: &str) -> String {
    Path::parse(path).flat()
}

/// A key as one step of a path.
fn escaped(key: &str) -> String {
    key.replace('.', "\\.")
}

/// The known name that one which means nothing most likely stands for.
pub(in crate::rules) fn nearest_name(name: &str) -> Option<String> {
    let flat = flattened(name);
    let lower = flat.to_lowercase();
    if let Some((_, meant)) = FIELD_MISTAKES.iter().find(|(it, _)| *it == lower) {
        return Some((*meant).to_owned());
    }
    let known = known_names();
    let plain = letters(&flat);
    let same = known.iter().find(|it| letters(it) == plain);
    // `audit.objectRef.resource` and the like: the end is right.
    let ends = known.iter().find(|it| flat.ends_with(&format!(".{it}")) && it.contains('.'));
    if let Some(found) = same.or(ends) {
        return Some(found.clone());
    }
    if let Some(below) = flat.strip_prefix("spec.") {
        let first = below.split('.').next().unwrap_or_default();
        let root = if POD_FIELDS.contains(&first) { "podSpec" } else { "requestObject.spec" };
        return Some(format!("{root}.{below}"));
    }
    if flat.starts_with("metadata.") {
        return Some(format!("requestObject.{flat}"));
    }
    close(&flat, known.iter().map(String::as_str))
        .or_else(|| known.iter().find(|it| flat.ends_with(&format!(".{it}"))).cloned())
}

/// What a path below a free-form field was probably meant to be; `None` when nothing
/// is known against it.
pub(in crate::rules) fn mistake_below(path: &str) -> Option<String> {
    let lower = path.to_lowercase();
    if let Some((_, meant)) = FIELD_MISTAKES.iter().find(|(it, _)| *it == lower) {
        return Some((*meant).to_owned());
    }
    if let Some(key) = path.strip_prefix("annotations.") {
        let keys = FIELDS.iter().filter_map(|it| it.path.strip_prefix("annotations."));
        let keys: Vec<String> =
            keys.map(flattened).chain(ANNOTATIONS.iter().map(|(it, _)| (*it).to_owned())).collect();
        let numbered = numbered(key);
        if keys.contains(&numbered) {
            return None;
        }
        let dotted = |it: &&String| it.replace('.', "_") == key;
        let found = keys.iter().find(dotted).cloned();
        let found = found.or_else(|| close(key, keys.iter().map(String::as_str)));
        return found.filter(|it| it != key).map(|it| format!("annotations.{it}"));
    }
    if let Some(below) = path.strip_prefix("podSpec.") {
        return pod_mistake(below).map(|it| format!("podSpec.{it}"));
    }
    POD_SPECS.iter().find_map(|place| {
        let place = format!("requestObject.{place}.");
        let below = path.strip_prefix(&place)?;
        let (kind, below) = below.split_once('.')?;
        let meant = CONTAINERS.contains(&kind).then(|| container_mistake(below))??;
        Some(format!("{place}{kind}.{meant}"))
    })
}

/// An annotation's key as the table has it: `round_0_index_12` is `round_N_index_N`.
fn numbered(key: &str) -> String {
    let parts = key.split('_').map(|it| {
        let number = !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        if number { "N" } else { it }
    });
    parts.collect::<Vec<_>>().join("_")
}

fn pod_mistake(path: &str) -> Option<String> {
    let (first, below) = path.split_once('.').map_or((path, None), |(it, rest)| (it, Some(rest)));
    if first == ANY_CONTAINER || CONTAINERS.contains(&first) {
        return container_mistake(below?).map(|it| format!("{first}.{it}"));
    }
    let field = if first == "securityContext" {
        below.and_then(|it| it.split('.').next()).unwrap_or_default()
    } else {
        first
    };
    if CONTAINER_SECURITY.contains(&field) {
        let below = below.filter(|_| first == "securityContext").unwrap_or(path);
        return Some(format!("{ANY_CONTAINER}.securityContext.{below}"));
    }
    respelt(first, below, POD_FIELDS)
}

fn container_mistake(path: &str) -> Option<String> {
    let (first, below) = path.split_once('.').map_or((path, None), |(it, rest)| (it, Some(rest)));
    if CONTAINER_SECURITY.contains(&first) || ["runAsUser", "runAsNonRoot"].contains(&first) {
        return Some(format!("securityContext.{path}"));
    }
    respelt(first, below, CONTAINER_FIELDS)
}

/// The path with its first key spelt as the close one of `known`; `None` when it is one.
fn respelt(first: &str, below: Option<&str>, known: &[&str]) -> Option<String> {
    if known.contains(&first) {
        return None;
    }
    let same = known.iter().find(|it| letters(it) == letters(first)).map(|it| (*it).to_owned());
    let meant = same.or_else(|| close(first, known.iter().copied()))?;
    Some(below.map_or_else(|| meant.clone(), |below| format!("{meant}.{below}")))
}

/// Every name there is, as one would write it.
fn known_names() -> Vec<String> {
    let fields = FIELDS.iter().map(|it| flattened(it.path));
    let computed = DERIVED.iter().map(|(it, _, _)| (*it).to_owned());
    let others = LOOSE.iter().chain(ECS).map(|(it, _)| (*it).to_owned());
    fields.chain(computed).chain(others).collect()
}

/// Letters and digits alone, in lower case: `source_ips` is `sourceIPs`.
fn letters(name: &str) -> String {
    name.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The known word that differs in few letters; one in five, and one at least.
pub(in crate::rules) fn close<'k>(
    word: &str,
    known: impl Iterator<Item = &'k str>,
) -> Option<String> {
    let word = word.to_lowercase();
    let most = (word.chars().count() / 5).max(1);
    known
        .map(|it| (strsim::damerau_levenshtein(&word, &it.to_lowercase()), it))
        .filter(|(wrong, it)| *wrong <= most && it.len() > 2)
        .min()
        .map(|(_, it)| it.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_raw_paths() {
        for (name, want) in [
            ("verb", "verb"),
            ("hostPath", "podSpec.volumes.hostPath.path"),
            ("user.name", "user.username"),
            ("kubernetes.audit.objectRef.resource", "objectRef.resource"),
            (
                "kubernetes.audit.annotations.authorization_k8s_io/decision",
                "annotations.authorization.k8s.io/decision",
            ),
            ("kubernetes.audit.annotations.a_b/c_d", "annotations.a_b/c_d"),
            ("event.outcome", "kustos.outcome"),
            (
                "user.extra.authentication.kubernetes.io/pod-name",
                "user.extra.authentication.kubernetes.io/pod-name",
            ),
            ("requestObject.spec.x", "requestObject.spec.x"),
            ("user.groups[0]", "user.groups"),
        ] {
            assert_eq!(meaning(name).map(|it| it.path).as_deref(), Some(want), "{name}");
        }
        for name in ["objectref.resource", "podSpec", "user.nick", "Image", "requestObjects"] {
            assert!(meaning(name).is_none(), "{name}");
        }
    }

    #[test]
    fn unknown_names_have_a_nearest_one() {
        for (name, want) in [
            ("objectref.resource", Some("objectRef.resource")),
            ("objectRef.kind", Some("objectRef.resource")),
            ("source_ips", Some("sourceIPs")),
            ("audit.objectRef.name", Some("objectRef.name")),
            ("spec.hostNetwork", Some("podSpec.hostNetwork")),
            ("spec.replicas", Some("requestObject.spec.replicas")),
            ("user.usernam", Some("user.username")),
            ("request.verb", Some("verb")),
            ("CommandLine", None),
        ] {
            assert_eq!(nearest_name(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn mistakes_in_free_form_fields_are_told_when_they_are_well_known() {
        for (path, want) in [
            ("podSpec.privileged", Some("podSpec.anyContainer.securityContext.privileged")),
            (
                "podSpec.securityContext.privileged",
                Some("podSpec.anyContainer.securityContext.privileged"),
            ),
            (
                "podSpec.anyContainer.capabilities.add",
                Some("podSpec.anyContainer.securityContext.capabilities.add"),
            ),
            ("podSpec.hostnetwork", Some("podSpec.hostNetwork")),
            (
                "requestObject.spec.containers.privileged",
                Some("requestObject.spec.containers.securityContext.privileged"),
            ),
            ("requestObject.spec.anything", None),
            ("podSpec.securityContext.runAsUser", None),
            ("annotations.decision", Some("annotations.authorization.k8s.io/decision")),
            (
                "annotations.authorization_k8s_io/decision",
                Some("annotations.authorization.k8s.io/decision"),
            ),
            ("annotations.example.com/x", None),
        ] {
            assert_eq!(mistake_below(path).as_deref(), want, "{path}");
        }
    }
}
