//! Reads a field's values out of an event, as the plugins `k8saudit` and `json` do.

use std::borrow::Cow;

use super::field::{Read, Reading};
use super::gke;
use super::json::{self, Json};
use super::pod::Containers;
use crate::event::Field;
use crate::rules::raw;
use crate::rules::scratch::{Context, Root};

/// The values of a field; none: it is missing.
pub(super) type Values<'v> = Vec<Cow<'v, str>>;

/// The values of a field, or that the event does not hold what they are made of.
pub(super) type Found<'v> = Result<Values<'v>, Missing>;

/// Something on the way to a field's values is not there, or of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing;

impl Reading {
    /// The values of the field in an event.
    pub(super) fn values<'v>(&'v self, context: &Context<'v, 'v>) -> Values<'v> {
        self.found(context).unwrap_or_default()
    }

    /// Shows every value to `visit` until it returns `true`, and returns that. What most
    /// checks look at is shown without being gathered first.
    pub(super) fn visit(
        &self,
        context: &Context<'_, '_>,
        visit: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        match self.read {
            Read::Plain(field) => plain(context, field).is_some_and(|it| visit(&it)),
            Read::PlainList(field) if self.index.is_none() && context.audit => {
                let json = context.event.json(field).unwrap_or_default();
                let mut members = raw::members(json).filter(|it| is_plain(it));
                members.any(|it| visit(&json::text(it)))
            }
            Read::Always(text) => is_judged(context) && visit(text),
            _ => self.values(context).iter().any(|it| visit(it)),
        }
    }

    fn found<'v>(&'v self, context: &Context<'v, 'v>) -> Found<'v> {
        let event = context.event;
        let below = |root| Json::root(context, root).ok_or(Missing);
        let body = || below(Root::RequestObject);
        let containers = |list| Ok(Containers { body: body()?, list, index: self.index });
        match self.read {
            Read::Plain(field) => one(plain(context, field)),
            Read::PlainList(field) => self.picked(list(context, field)?),
            Read::Keys(root, keys) => one(below(root)?.at(keys).map(Json::text)),
            Read::Members(root, keys) => members(below(root)?.at(keys).ok_or(Missing)?),
            Read::Spread(root, keys) => {
                let found = spread(below(root)?, self.index, keys)?;
                Ok(found.into_iter().flatten().map(Json::text).collect())
            }
            Read::Container(list, field) => containers(list)?.values(field),
            Read::FirstContainer(field) => {
                let first = Containers { body: body()?, list: "containers", index: Some(0) };
                one(first.values(field)?.into_iter().next())
            }
            Read::AnyPrivileged => said(containers("containers")?.privileged()?),
            Read::VolumeTypes => self.volume_types(body()?),
            Read::HostPathUsed => self.host_path_used(body()?),
            Read::RoleRules(key) => {
                let rules = spread(body()?, self.index, &["rules", key])?;
                let lists = rules.into_iter().flatten().filter(|it| it.is_array());
                Ok(lists.flat_map(Json::members).map(Json::text).collect())
            }
            Read::Subjects(kind) => subjects(body()?, kind, &|_, name| Some(name)),
            Read::NamespacedSubjects => subjects(body()?, "ServiceAccount", &|subject, name| {
                let namespace = subject.get("namespace")?.text();
                Some(format!("{namespace}:{name}").into())
            }),
            Read::TargetPod => target_pod(context),
            Read::UriParameter => {
                let uri = plain(context, Field::RequestUri).ok_or(Missing)?;
                one(super::uri::parameter(&uri, &self.key).map(Cow::Owned))
            }
            Read::Pointer => self.pointed(context),
            Read::Whole => one(Some(json::indented(context.line()).into())),
            Read::Line => one(Some(event.line().into())),
            Read::Moment(form) => {
                let micros = event.micros(Field::StageTimestamp);
                let micros = micros.or_else(|| gke::micros(context)).ok_or(Missing)?;
                one(form.of(micros).map(Cow::Owned))
            }
            Read::Always(text) => one(is_judged(context).then_some(text.into())),
            Read::Never => Err(Missing),
        }
    }

    fn picked<'v>(&self, values: Values<'v>) -> Found<'v> {
        match self.index {
            None => Ok(values),
            Some(index) => one(values.into_iter().nth(index)),
        }
    }

    fn volume_types<'v>(&self, body: Json<'v>) -> Found<'v> {
        let volumes = spread(body, self.index, &["spec", "volumes", ""])?;
        let keys = volumes.into_iter().flatten().flat_map(Json::keys);
        Ok(keys.filter(|key| key != "name").collect())
    }

    fn host_path_used<'v>(&self, body: Json<'v>) -> Found<'v> {
        let paths = spread(body, None, &["spec", "volumes", "hostPath", "path"])?;
        let used = |path: &str| match self.key.strip_suffix('*') {
            Some(start) => path.starts_with(start) || *path == *self.key,
            None => *path == *self.key,
        };
        said(paths.into_iter().flatten().any(|it| used(&it.text())))
    }

    fn pointed<'v>(&self, context: &Context<'v, 'v>) -> Found<'v> {
        let rooted = self.steps.split_first();
        let rooted = rooted.and_then(|(first, rest)| Some((Root::of(first)?, rest)));
        let (root, rest) = rooted.unwrap_or((Root::Line, &self.steps));
        one(Json::root(context, root).and_then(|it| it.at(rest)).map(Json::text))
    }
}

/// Whether it is an event of the source `k8s_audit`.
fn is_judged(context: &Context<'_, '_>) -> bool {
    context.audit || gke::entry(context).is_some()
}

fn one(value: Option<Cow<'_, str>>) -> Found<'_> {
    value.map(|it| vec![it]).ok_or(Missing)
}

fn said<'v>(yes: bool) -> Found<'v> {
    one(Some(if yes { "true" } else { "false" }.into()))
}

/// The text of a place the decoder has found, when it holds a plain value. The API
/// server writes no other there, so a stranger's `null`, array or object is nothing.
pub(super) fn plain<'v>(context: &Context<'v, 'v>, field: Field) -> Option<Cow<'v, str>> {
    match context.event.json(field) {
        Some(json) => is_plain(json).then(|| json::text(json)),
        None if !context.audit => gke::plain(context, field),
        None => None,
    }
}

fn is_plain(json: &str) -> bool {
    !json.starts_with(['[', '{', 'n'])
}

fn list<'v>(context: &Context<'v, 'v>, field: Field) -> Found<'v> {
    match context.event.json(field) {
        Some(json) if json.starts_with('[') => {
            Ok(raw::members(json).filter(|it| is_plain(it)).map(json::text).collect())
        }
        Some(_) => Err(Missing),
        None if !context.audit => one(gke::plain(context, field)),
        None => Err(Missing),
    }
}

fn members(json: Json<'_>) -> Found<'_> {
    if json.is_array() { Ok(json.members().map(Json::text).collect()) } else { Err(Missing) }
}

/// The values under keys, through every array on the way or through the member at
/// `index`; `None` for each member of an array that does not have the rest of the keys.
pub(super) fn spread<'v>(
    mut json: Json<'v>,
    index: Option<usize>,
    keys: &[&str],
) -> Result<Vec<Option<Json<'v>>>, Missing> {
    for (at, key) in keys.iter().enumerate() {
        if json.is_array() {
            let Some(index) = index else {
                let rest = keys.get(at..).unwrap_or_default();
                // A body's tree is not deep, so this is not either.
                let each = json.members().map(|it| spread(it, None, rest));
                return Ok(each.flat_map(|it| it.unwrap_or_else(|Missing| vec![None])).collect());
            };
            json = json.members().nth(index).ok_or(Missing)?;
        }
        // An empty key is the value itself.
        if !key.is_empty() {
            json = json.get(key).ok_or(Missing)?;
        }
    }
    Ok(vec![Some(json)])
}

fn subjects<'v>(
    body: Json<'v>,
    kind: &str,
    named: &dyn Fn(Json<'v>, Cow<'v, str>) -> Option<Cow<'v, str>>,
) -> Found<'v> {
    let subjects = body.get("subjects").ok_or(Missing)?;
    if !subjects.is_array() {
        return Err(Missing);
    }
    let of_kind = |it: &Json<'v>| it.get("kind").is_some_and(|it| it.text() == kind);
    let name = |it: Json<'v>| named(it, it.get("name")?.text());
    Ok(subjects.members().filter(of_kind).filter_map(name).collect())
}

fn target_pod<'v>(context: &Context<'v, 'v>) -> Found<'v> {
    let text = |field| plain(context, field).unwrap_or_default();
    if text(Field::Resource) != "pods" || !text(Field::Subresource).is_empty() {
        return Err(Missing);
    }
    let response = Json::root(context, Root::ResponseObject).ok_or(Missing)?;
    one(response.at(&["metadata", "name"]).map(Json::text))
}
