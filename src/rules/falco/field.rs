//! The fields a Falco rule may ask for, as tables: what each is called, whether it is a
//! list, and where it is read from.
//!
//! They are those of the plugins `k8saudit` and `json` and of the generic `evt` class.
//! `docs/falco.md` shows the same tables; a test keeps the two alike.

use std::fmt;

use super::moment::Form;
use super::pod::{CONTAINER_FIELDS, CONTAINER_LISTS, ContainerField};
use crate::event::Field;
use crate::rules::scratch::Root;

/// One field of a rule: which it is, and the argument it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) struct Reading {
    pub(super) name: Box<str>,
    pub(super) read: Read,
    /// `[n]`: one member of the first array on the way.
    pub(super) index: Option<usize>,
    /// `[text]`
    pub(super) key: Box<str>,
    /// The keys of a JSON pointer.
    pub(super) steps: Box<[String]>,
}

/// How a field's values are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A place the decoder has found.
    Plain(Field),
    /// A list of texts at such a place.
    PlainList(Field),
    /// The value under keys below such a place.
    Keys(Root, &'static [&'static str]),
    /// The members of the array under keys.
    Members(Root, &'static [&'static str]),
    /// The values under keys, through every array on the way.
    Spread(Root, &'static [&'static str]),
    /// A field of the containers of one of the lists of a pod.
    Container(&'static str, ContainerField),
    /// A field of a pod's first container, as a plain text.
    FirstContainer(ContainerField),
    AnyPrivileged,
    VolumeTypes,
    /// Whether the host path in brackets is mounted.
    HostPathUsed,
    /// The members of a key of the rules of a role.
    RoleRules(&'static str),
    /// The names of a binding's subjects of one kind.
    Subjects(&'static str),
    /// The names of its service accounts, each behind its namespace and a colon.
    NamespacedSubjects,
    TargetPod,
    UriParameter,
    /// The value at a JSON pointer.
    Pointer,
    /// The event as JSON over several lines.
    Whole,
    /// The event as it arrived.
    Line,
    Moment(Form),
    Always(&'static str),
    Never,
}

/// What a field's values are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Type {
    Text,
    Number,
    Bool,
}

/// What may stand in brackets behind a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    /// A number, or nothing.
    Index,
    /// A text.
    Key,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) read: Read,
    pub(super) argument: Argument,
    /// Where it is read from, as the documentation says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is held against it"))]
    pub(super) from: &'static str,
}

const fn known(name: &'static str, read: Read, argument: Argument, from: &'static str) -> Known {
    Known { name, read, argument, from }
}

const REQUEST: Root = Root::RequestObject;

/// Every field but those of containers.
pub(super) const FIELDS: &[Known] = {
    use Argument::{Index, Key, None};
    use Read::{Always, Keys, Members, Never, Plain, PlainList, RoleRules, Spread, Subjects};
    &[
        known("ka.auditid", Plain(Field::AuditId), None, "`auditID`"),
        known("ka.stage", Plain(Field::Stage), None, "`stage`"),
        known(
            "ka.auth.decision",
            Plain(Field::Decision),
            None,
            "annotation `authorization.k8s.io/decision`",
        ),
        known(
            "ka.auth.reason",
            Plain(Field::DecisionReason),
            None,
            "annotation `authorization.k8s.io/reason`",
        ),
        known(
            "ka.auth.openshift.decision",
            Keys(Root::Annotations, &["authentication.openshift.io/decision"]),
            None,
            "annotation `authentication.openshift.io/decision`",
        ),
        known(
            "ka.auth.openshift.username",
            Keys(Root::Annotations, &["authentication.openshift.io/username"]),
            None,
            "annotation `authentication.openshift.io/username`",
        ),
        known(
            "ka.validations.admission.policy.failure",
            Keys(Root::Annotations, &["validation.policy.admission.k8s.io/validation_failure"]),
            None,
            "annotation `validation.policy.admission.k8s.io/validation_failure`",
        ),
        known(
            "ka.security.pod.violations",
            Keys(Root::Annotations, &["pod-security.kubernetes.io/audit-violations"]),
            None,
            "annotation `pod-security.kubernetes.io/audit-violations`",
        ),
        known("ka.user.name", Plain(Field::Username), None, "`user.username`"),
        known("ka.user.groups", PlainList(Field::UserGroups), None, "`user.groups`"),
        known(
            "ka.impuser.name",
            Plain(Field::ImpersonatedUsername),
            None,
            "`impersonatedUser.username`",
        ),
        known("ka.verb", Plain(Field::Verb), None, "`verb`"),
        known("ka.uri", Plain(Field::RequestUri), None, "`requestURI`"),
        known(
            "ka.uri.param",
            Read::UriParameter,
            Key,
            "the first value of that parameter of `requestURI`, decoded",
        ),
        known("ka.target.name", Plain(Field::Name), None, "`objectRef.name`"),
        known("ka.target.namespace", Plain(Field::Namespace), None, "`objectRef.namespace`"),
        known("ka.target.resource", Plain(Field::Resource), None, "`objectRef.resource`"),
        known("ka.target.subresource", Plain(Field::Subresource), None, "`objectRef.subresource`"),
        known(
            "ka.target.pod.name",
            Read::TargetPod,
            None,
            "`responseObject.metadata.name` of a request to `pods` without subresource",
        ),
        known(
            "ka.req.binding.subjects",
            Members(REQUEST, &["subjects"]),
            None,
            "`requestObject.subjects`, each as JSON",
        ),
        known(
            "ka.req.binding.subjects.user_names",
            Subjects("User"),
            None,
            "names in `requestObject.subjects` of kind `User`",
        ),
        known(
            "ka.req.binding.subjects.serviceaccount_names",
            Subjects("ServiceAccount"),
            None,
            "names in `requestObject.subjects` of kind `ServiceAccount`",
        ),
        known(
            "ka.req.binding.subjects.serviceaccount_ns_names",
            Read::NamespacedSubjects,
            None,
            "the same, as `namespace:name`",
        ),
        known(
            "ka.req.binding.subjects.group_names",
            Subjects("Group"),
            None,
            "names in `requestObject.subjects` of kind `Group`",
        ),
        known(
            "ka.req.binding.role",
            Keys(REQUEST, &["roleRef", "name"]),
            None,
            "`requestObject.roleRef.name`",
        ),
        known("ka.req.binding.subject.has_name", Always("true"), Key, "always `true`"),
        known("ka.req.configmap.name", Plain(Field::Name), None, "`objectRef.name`"),
        known(
            "ka.req.configmap.obj",
            Keys(REQUEST, &["data"]),
            None,
            "`requestObject.data`, as JSON",
        ),
        known(
            "ka.req.container.image",
            Read::FirstContainer(ContainerField::Image),
            None,
            "the first of `ka.req.pod.containers.image`",
        ),
        known(
            "ka.req.container.image.repository",
            Read::FirstContainer(ContainerField::Repository),
            None,
            "the first of `ka.req.pod.containers.image.repository`",
        ),
        known(
            "ka.req.container.host_network",
            Keys(REQUEST, &["spec", "hostNetwork"]),
            None,
            "`requestObject.spec.hostNetwork`",
        ),
        known(
            "ka.req.container.privileged",
            Read::AnyPrivileged,
            None,
            "`true` if any of `requestObject.spec.containers` is privileged, else `false`",
        ),
        known(
            "ka.req.pod.host_ipc",
            Keys(REQUEST, &["spec", "hostIPC"]),
            None,
            "`requestObject.spec.hostIPC`",
        ),
        known(
            "ka.req.pod.host_network",
            Keys(REQUEST, &["spec", "hostNetwork"]),
            None,
            "`requestObject.spec.hostNetwork`",
        ),
        known(
            "ka.req.pod.host_pid",
            Keys(REQUEST, &["spec", "hostPID"]),
            None,
            "`requestObject.spec.hostPID`",
        ),
        known(
            "ka.req.pod.run_as_user",
            Keys(REQUEST, &["spec", "securityContext", "runAsUser"]),
            None,
            "`requestObject.spec.securityContext.runAsUser`",
        ),
        known(
            "ka.req.pod.run_as_group",
            Keys(REQUEST, &["spec", "securityContext", "runAsGroup"]),
            None,
            "`requestObject.spec.securityContext.runAsGroup`",
        ),
        known(
            "ka.req.pod.fs_group",
            Keys(REQUEST, &["spec", "securityContext", "fsGroup"]),
            None,
            "`requestObject.spec.securityContext.fsGroup`",
        ),
        known(
            "ka.req.pod.supplemental_groups",
            Members(REQUEST, &["spec", "securityContext", "supplementalGroups"]),
            None,
            "`requestObject.spec.securityContext.supplementalGroups`",
        ),
        known(
            "ka.req.pod.volumes.hostpath",
            Spread(REQUEST, &["spec", "volumes", "hostPath", "path"]),
            Index,
            "`requestObject.spec.volumes[].hostPath.path`",
        ),
        known(
            "ka.req.pod.volumes.flexvolume_driver",
            Spread(REQUEST, &["spec", "volumes", "flexVolume", "driver"]),
            Index,
            "`requestObject.spec.volumes[].flexVolume.driver`",
        ),
        known(
            "ka.req.pod.volumes.volume_type",
            Read::VolumeTypes,
            Index,
            "the keys of `requestObject.spec.volumes[]` other than `name`",
        ),
        known(
            "ka.req.volume.hostpath",
            Read::HostPathUsed,
            Key,
            "`true` if a volume has that host path, or one that begins so (`/etc*`), else `false`",
        ),
        known(
            "ka.req.role.rules",
            Members(REQUEST, &["rules"]),
            None,
            "`requestObject.rules`, each as JSON",
        ),
        known(
            "ka.req.role.rules.apiGroups",
            RoleRules("apiGroups"),
            Index,
            "`requestObject.rules[].apiGroups[]`",
        ),
        known(
            "ka.req.role.rules.nonResourceURLs",
            RoleRules("nonResourceURLs"),
            Index,
            "`requestObject.rules[].nonResourceURLs[]`",
        ),
        known(
            "ka.req.role.rules.verbs",
            RoleRules("verbs"),
            Index,
            "`requestObject.rules[].verbs[]`",
        ),
        known(
            "ka.req.role.rules.resources",
            RoleRules("resources"),
            Index,
            "`requestObject.rules[].resources[]`",
        ),
        known(
            "ka.req.service.type",
            Keys(REQUEST, &["spec", "type"]),
            None,
            "`requestObject.spec.type`",
        ),
        known(
            "ka.req.service.ports",
            Spread(REQUEST, &["spec", "ports"]),
            Index,
            "`requestObject.spec.ports`, all of it as one JSON text",
        ),
        known(
            "ka.resp.name",
            Keys(Root::ResponseObject, &["metadata", "name"]),
            None,
            "`responseObject.metadata.name`",
        ),
        known("ka.response.code", Plain(Field::Code), None, "`responseStatus.code`"),
        known("ka.response.reason", Plain(Field::Reason), None, "`responseStatus.reason`"),
        known("ka.useragent", Plain(Field::UserAgent), None, "`userAgent`"),
        known("ka.sourceips", PlainList(Field::SourceIps), Index, "`sourceIPs`"),
        known(
            "ka.cluster.name",
            Keys(Root::Annotations, &["cluster_name"]),
            None,
            "annotation `cluster_name`",
        ),
        known("jevt.value", Read::Pointer, Key, "the value at that JSON pointer (RFC 6901)"),
        known("jevt.obj", Read::Whole, None, "the event, as JSON over several lines"),
        known("jevt.rawtime", Read::Moment(Form::RawText), None, "as `evt.rawtime`, as text"),
        known("jevt.time", Read::Moment(Form::Time), None, "as `evt.time`"),
        known("jevt.time.iso8601", Read::Moment(Form::Iso8601), None, "as `evt.time.iso8601`"),
        known("json.value", Read::Pointer, Key, "as `jevt.value`"),
        known("json.obj", Read::Whole, None, "as `jevt.obj`"),
        known("json.rawtime", Read::Moment(Form::RawText), None, "as `jevt.rawtime`"),
        known("evt.time", Read::Moment(Form::Time), None, "`stageTimestamp`: `15:04:05.000000000`"),
        known("evt.time.s", Read::Moment(Form::TimeSeconds), None, "`15:04:05`"),
        known(
            "evt.time.iso8601",
            Read::Moment(Form::Iso8601),
            None,
            "`2006-01-02T15:04:05.000000000+0000`",
        ),
        known("evt.datetime", Read::Moment(Form::Date), None, "`2006-01-02 15:04:05.000000000`"),
        known("evt.datetime.s", Read::Moment(Form::DateSeconds), None, "`2006-01-02 15:04:05`"),
        known("evt.rawtime", Read::Moment(Form::Raw), None, "nanoseconds since 1970"),
        known("evt.rawtime.s", Read::Moment(Form::RawSeconds), None, "its seconds"),
        known("evt.rawtime.ns", Read::Moment(Form::RawRest), None, "its nanoseconds"),
        known("evt.pluginname", Always("k8saudit"), None, "always `k8saudit`"),
        known("evt.plugininfo", Read::Line, None, "the event, as it arrived"),
        known("evt.source", Always("k8s_audit"), None, "always `k8s_audit`"),
        known("evt.is_async", Always("false"), None, "always `false`"),
        known("evt.asynctype", Never, None, "never there"),
    ]
};

/// Fields that only the process knows that runs Falco.
const UNANSWERABLE: [&str; 5] =
    ["evt.num", "evt.hostname", "evt.reltime", "evt.reltime.s", "evt.reltime.ns"];

/// The first words of fields of other sources.
const FOREIGN: [&str; 24] = [
    "proc",
    "thread",
    "fd",
    "fdlist",
    "fs",
    "user",
    "group",
    "container",
    "k8s",
    "k8smeta",
    "syslog",
    "span",
    "evtin",
    "mesos",
    "ct",
    "aws",
    "gcp",
    "okta",
    "github",
    "kafka",
    "keycloak",
    "kt",
    "salesforce",
    "ko",
];

/// Why a name is no field here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum FieldError {
    #[error("unknown field \"{name}\"{}", likely(.nearest))]
    Unknown { name: String, nearest: Option<String> },
    #[error("field \"{0}\" is of another event source than k8s_audit, so no audit event has it")]
    Foreign(String),
    #[error("field \"{0}\" is known only to the Falco process, so it has no answer here")]
    Unanswerable(String),
    #[error("field \"{0}\" needs an argument: {0}[...]")]
    Needs(String),
    #[error("field \"{0}\" takes no argument")]
    TakesNone(String),
    #[error("\"{argument}\" in \"{name}[{argument}]\" is no index: a number from 0 on")]
    Index { name: String, argument: String },
}

fn likely(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|it| format!("; did you mean \"{it}\"?")).unwrap_or_default()
}

impl Reading {
    /// The field of this name.
    pub(super) fn of(name: &str, argument: Option<&str>) -> Result<Reading, FieldError> {
        let (read, takes) = find(name).ok_or_else(|| missing(name))?;
        let (name_of, steps) = (name.into(), Box::default());
        let mut reading = Reading { name: name_of, read, index: None, key: "".into(), steps };
        match (takes, argument) {
            (Argument::None | Argument::Index, None) => {}
            (Argument::None, Some(_)) => return Err(FieldError::TakesNone(name.to_owned())),
            (Argument::Index, Some(text)) => {
                let wrong =
                    || FieldError::Index { name: name.to_owned(), argument: text.to_owned() };
                reading.index = Some(index(text).ok_or_else(wrong)?);
                reading.key = text.into();
            }
            (Argument::Key, Some(text)) if !text.is_empty() => reading.key = text.into(),
            (Argument::Key, _) => return Err(FieldError::Needs(name.to_owned())),
        }
        if read == Read::Pointer {
            reading.steps = steps_of(&reading.key).collect();
            reading.read = pointed(&reading.steps);
        }
        Ok(reading)
    }

    /// What its values are compared as.
    pub(super) fn kind(&self) -> Type {
        match self.read {
            Read::Moment(form) if form.is_number() => Type::Number,
            Read::Always("false") => Type::Bool,
            _ => Type::Text,
        }
    }

    /// Whether it may have several values.
    pub(super) fn is_list(&self) -> bool {
        self.read.is_list()
    }

    /// The fields of an audit event it is read from, as dotted paths.
    pub(super) fn places(&self) -> Vec<String> {
        let keyed = |root: Root, keys: &[&str]| {
            let keys = keys.iter().map(|it| it.replace('.', "\\."));
            let all: Vec<String> = root.key().map(str::to_owned).into_iter().chain(keys).collect();
            vec![all.join(".")]
        };
        let body = |keys: &[&str]| keyed(REQUEST, keys);
        match self.read {
            Read::Plain(field) | Read::PlainList(field) => vec![field.path().to_owned()],
            Read::Keys(root, keys) | Read::Members(root, keys) | Read::Spread(root, keys) => {
                keyed(root, keys)
            }
            Read::Container(list, field) => body(&[&["spec", list], field.keys()].concat()),
            Read::FirstContainer(field) => body(&[&["spec", "containers"], field.keys()].concat()),
            Read::AnyPrivileged => body(&["spec", "containers", "securityContext", "privileged"]),
            Read::VolumeTypes => body(&["spec", "volumes"]),
            Read::HostPathUsed => body(&["spec", "volumes", "hostPath", "path"]),
            Read::RoleRules(key) => body(&["rules", key]),
            Read::Subjects(_) | Read::NamespacedSubjects => body(&["subjects", "name"]),
            Read::TargetPod => keyed(Root::ResponseObject, &["metadata", "name"]),
            Read::UriParameter => vec![Field::RequestUri.path().to_owned()],
            Read::Pointer => {
                let keys: Vec<String> =
                    self.steps.iter().map(|it| it.replace('.', "\\.")).collect();
                vec![keys.join(".")]
            }
            Read::Moment(_) => vec![Field::StageTimestamp.path().to_owned()],
            Read::Whole | Read::Line | Read::Always(_) | Read::Never => Vec::new(),
        }
    }

    /// A field without which the event has no value of this one.
    pub(super) fn root(&self) -> Option<Field> {
        match self.read {
            Read::Plain(field) | Read::PlainList(field) => Some(field),
            Read::Keys(root, _) | Read::Members(root, _) | Read::Spread(root, _) => root.field(),
            Read::Container(..)
            | Read::FirstContainer(_)
            | Read::AnyPrivileged
            | Read::VolumeTypes
            | Read::HostPathUsed
            | Read::RoleRules(_)
            | Read::Subjects(_)
            | Read::NamespacedSubjects => Some(Field::RequestObject),
            Read::TargetPod => Some(Field::ResponseObject),
            Read::UriParameter => Some(Field::RequestUri),
            Read::Moment(_) => Some(Field::StageTimestamp),
            // The value itself may be `null`, which is text to Falco.
            Read::Pointer if self.steps.len() < 2 => None,
            Read::Pointer => self.steps.first().and_then(|it| Root::of(it)?.field()),
            Read::Whole | Read::Line | Read::Always(_) | Read::Never => None,
        }
    }

    /// Whether it needs no more than what the decoder has found.
    pub(super) fn is_cheap(&self) -> bool {
        matches!(
            self.read,
            Read::Plain(_)
                | Read::PlainList(_)
                | Read::UriParameter
                | Read::Moment(_)
                | Read::Always(_)
        )
    }

    /// The place in the decoder's index that holds its very values.
    pub(super) fn indexed(&self) -> Option<Field> {
        match self.read {
            Read::Plain(field) => Some(field),
            Read::PlainList(field) if self.index.is_none() => Some(field),
            _ => None,
        }
    }
}

impl Read {
    pub(super) fn is_list(self) -> bool {
        matches!(
            self,
            Read::PlainList(_)
                | Read::Members(..)
                | Read::Spread(..)
                | Read::Container(..)
                | Read::VolumeTypes
                | Read::RoleRules(_)
                | Read::Subjects(_)
                | Read::NamespacedSubjects
        )
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "[{}]", self.key) }
    }
}

/// Fields that give something else than their names say, in Falco as well.
const CAUTIONS: [(&str, &str); 5] = [
    (
        "subject.has_name",
        "is always true; the names are in ka.req.binding.subjects.user_names and its siblings",
    ),
    ("eff_run_as_user", "looks beside securityContext, and so is nearly always 0"),
    ("eff_run_as_group", "looks beside securityContext, and so is nearly always 0"),
    (
        "add_capabilities",
        "holds the capabilities of each container as one JSON text, which no single name equals",
    ),
    ("service.ports", "holds all ports as one JSON text, which no single port equals"),
];

/// What a rule that uses this field should know about it.
pub(super) fn caution(name: &str) -> Option<String> {
    let (_, what) = CAUTIONS.iter().find(|(end, _)| name.ends_with(end))?;
    Some(format!("field \"{name}\" {what}"))
}

/// Whether there is a field of this name.
pub(super) fn is_field(name: &str) -> bool {
    find(name).is_some() || UNANSWERABLE.contains(&name)
}

fn find(name: &str) -> Option<(Read, Argument)> {
    if let Some(known) = FIELDS.iter().find(|it| it.name == name) {
        return Some((known.read, known.argument));
    }
    let below = name.strip_prefix("ka.req.pod.")?;
    let (list, field) = below.split_once('.')?;
    let list = CONTAINER_LISTS.iter().find(|it| **it == list)?;
    let known = CONTAINER_FIELDS.iter().find(|it| it.name == field && it.is_of(list))?;
    Some((Read::Container(list, known.field), Argument::Index))
}

fn missing(name: &str) -> FieldError {
    let name = name.to_owned();
    let first = name.split('.').next().unwrap_or_default();
    if UNANSWERABLE.contains(&name.as_str()) {
        return FieldError::Unanswerable(name);
    }
    if FOREIGN.contains(&first) {
        return FieldError::Foreign(name);
    }
    let nearest = nearest(&name);
    // What `evt` has besides the table above describes system calls.
    if first == "evt" && nearest.is_none() {
        return FieldError::Foreign(name);
    }
    FieldError::Unknown { name, nearest }
}

/// The field that was probably meant: at most a third of its letters differ.
fn nearest(name: &str) -> Option<String> {
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    let best = names().min_by_key(|it| distance(it))?;
    let limit = if name.starts_with("evt.") { 1 } else { name.len() / 3 };
    (distance(&best) <= limit).then_some(best)
}

/// The name of every field.
pub(super) fn names() -> impl Iterator<Item = String> {
    let containers = CONTAINER_LISTS.iter().flat_map(|list| {
        let of = CONTAINER_FIELDS.iter().filter(move |it| it.is_of(list));
        of.map(move |it| format!("ka.req.pod.{list}.{}", it.name))
    });
    FIELDS.iter().map(|it| it.name.to_owned()).chain(containers)
}

/// As Falco reads an index: digits alone, and no zero before others.
fn index(text: &str) -> Option<usize> {
    let plain =
        text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A pointer to a place the decoder has found is as good as the field that is there.
fn pointed(steps: &[String]) -> Read {
    match Field::all().find(|it| keys_of(*it) == steps) {
        Some(field) if SCALARS.contains(&field) => Read::Plain(field),
        _ => Read::Pointer,
    }
}

/// Places that hold a plain value in every audit event.
const SCALARS: [Field; 25] = [
    Field::Kind,
    Field::ApiVersion,
    Field::Level,
    Field::AuditId,
    Field::Stage,
    Field::RequestUri,
    Field::Verb,
    Field::Username,
    Field::UserUid,
    Field::ImpersonatedUsername,
    Field::ImpersonatedUid,
    Field::UserAgent,
    Field::Resource,
    Field::Namespace,
    Field::Name,
    Field::ObjectUid,
    Field::ApiGroup,
    Field::ObjectApiVersion,
    Field::ResourceVersion,
    Field::Subresource,
    Field::Status,
    Field::Message,
    Field::Reason,
    Field::Code,
    Field::Decision,
];

/// The keys of a field's dotted path.
fn keys_of(field: Field) -> Vec<String> {
    const DOT: &str = "\u{0}";
    let path = field.path().replace("\\.", DOT);
    path.split('.').map(|it| it.replace(DOT, ".")).collect()
}

/// The keys of a JSON pointer.
fn steps_of(pointer: &str) -> impl Iterator<Item = String> {
    let inner = pointer.strip_prefix('/').unwrap_or(pointer);
    inner.split('/').map(|key| key.replace("~1", "/").replace("~0", "~"))
}

/// The lines of the documentation's tables.
#[cfg(test)]
pub(super) fn rows() -> Vec<String> {
    let plain = FIELDS.iter().map(|it| {
        let argument = match it.argument {
            Argument::None => "",
            Argument::Index => "`, `[n]",
            Argument::Key => "[...]",
        };
        let (name, key, steps) = ("".into(), "".into(), Box::default());
        let reading = Reading { name, read: it.read, index: None, key, steps };
        let kind = match (reading.is_list(), reading.kind()) {
            (true, _) => "list",
            (false, Type::Text) => "text",
            (false, Type::Number) => "number",
            (false, Type::Bool) => "true or false",
        };
        format!("| `{}{argument}` | {kind} | {} |", it.name, it.from)
    });
    let of_containers =
        CONTAINER_FIELDS.iter().map(|it| format!("| `{}` | {} |", it.name, it.from));
    plain.chain(of_containers).collect()
}
