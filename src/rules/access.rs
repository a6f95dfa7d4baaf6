//! How a rule's field name is turned into a way to the value, once, at load.
//!
//! Names the decoder indexes cost a slice of the line; everything else costs a
//! parsed tree of the part it lies in.

use super::derived::Derived;
use super::falco::Term;
use super::memo::Numbers;
use super::mention::Mention;
use super::path::{Path, STEPS_MAX, Visit};
use super::scratch::{Context, Root};
use super::taxonomy::{
    ANY_CONTAINER, CONTAINERS, DERIVED, DERIVED_PREFIX, Ecs, LOOSE, POD_SPEC, POD_SPECS, ecs,
};
use super::tree::Tree;
use super::value::View;
use crate::event::Field;

/// A way to the values of one field.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// The decoder has found it.
    Indexed(Field, Flat),
    /// Computed from the event.
    Derived(Derived),
    /// A term of a Falco condition.
    Computed(Box<Term>),
    /// Any of several paths.
    Paths(Box<[Rooted]>, Flat),
    /// Any of several paths in the object that the request writes.
    Pod(Box<[Rooted]>, Flat),
    /// A loose or an Elastic name: a field of that very name, else what it stands for.
    Loose { key: Option<Box<str>>, literal: Box<Access>, target: Box<Access> },
    /// The annotation whose key is this once every dot of it is a `_`.
    Annotation(Box<str>),
    /// A path below the array member under judgement.
    Member(Path),
    /// The array member itself.
    Itself,
}

/// The whole name as one key with dots; `None` when it has no dots. Flat log formats
/// write fields so, and there such a key comes first; audit events have none, so they
/// do not pay for the search.
type Flat = Option<Box<str>>;

/// A path, and the root it starts below.
#[derive(Debug, Clone)]
pub(super) struct Rooted {
    root: Root,
    path: Path,
    /// Those of the path's beginnings in its rule set; none before it is in one.
    numbers: Box<[u32]>,
    /// Whether its rule set wants what is at it; not before it is in one.
    wanted: bool,
    /// Of a field's first path: the field's number in its rule set.
    field: Option<u32>,
    /// For a path from the top of the line: the field that its first key is, if any.
    opens: Option<Field>,
    /// For an annotation: its key.
    key: Option<Mention>,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opening<'p> {
    Field(Field),
    /// A key that no audit event has.
    Key(&'p str),
    Unknown,
}

/// Why a name is no way to a value.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("unknown field \"{0}\": see the table of `kustos.` fields")]
    UnknownDerived(String),
    #[error("field \"{0}\" is more than {STEPS_MAX} keys deep")]
    TooDeep(String),
    #[error("\"{0}\" is computed text, not an array")]
    NotAnArray(String),
}

impl Access {
    /// The way to a field of the event.
    pub(super) fn of(name: &str) -> Result<Access, NameError> {
        let path = checked(name)?;
        let flat = path.flat();
        if path.picks() {
            return Access::picked(name, path, flat);
        }
        if let Some(field) = Field::all().find(|it| Path::parse(it.path()).flat() == flat) {
            return Ok(Access::Indexed(field, dotted(flat)));
        }
        if let Some((_, derived, _)) = DERIVED.iter().find(|(it, _, _)| *it == flat) {
            return Ok(Access::Derived(*derived));
        }
        if flat.starts_with(DERIVED_PREFIX) {
            return Err(NameError::UnknownDerived(flat));
        }
        let target = match (LOOSE.iter().find(|(it, _)| *it == flat), ecs(name)) {
            (Some((_, target)), _) => Access::of(target)?,
            (None, Some(Ecs::Name(target))) => Access::of(&target)?,
            (None, Some(Ecs::Annotation(key))) => Access::Annotation(key.into()),
            (None, None) => return Ok(Access::paths(path, flat)),
        };
        // `user.name` begins like a field that every event has, and is none.
        let key = path.first().filter(|it| Field::at(it).is_none()).map(Into::into);
        let literal = Box::new(Access::paths(path, flat));
        Ok(Access::Loose { key, literal, target: Box::new(target) })
    }

    /// The way to one member of a list (`sourceIPs[0]`), which the decoder does not look for.
    fn picked(name: &str, path: Path, flat: String) -> Result<Access, NameError> {
        if flat.starts_with(DERIVED_PREFIX) {
            return Err(NameError::NotAnArray(flat));
        }
        let list = name.strip_suffix(']').and_then(|it| it.rsplit_once('['));
        let target = list.and_then(|(list, place)| {
            let target = match (LOOSE.iter().find(|(it, _)| *it == flat), ecs(list)) {
                (Some((_, target)), _) => (*target).to_owned(),
                (None, Some(Ecs::Name(target))) => target,
                (None, _) => return None,
            };
            Some(format!("{target}[{place}]"))
        });
        let key = path.first().filter(|it| Field::at(it).is_none()).map(Into::into);
        // No flat log has a key with the place in it.
        let literal = Access::paths(path, String::new());
        Ok(match target {
            Some(target) => {
                let target = Box::new(Access::of(&target)?);
                Access::Loose { key, literal: Box::new(literal), target }
            }
            None => literal,
        })
    }

    /// The way to an array of the event whose members are judged one by one.
    pub(super) fn of_array(name: &str) -> Result<Access, NameError> {
        let path = checked(name)?;
        let flat = path.flat();
        match Access::of(name)? {
            Access::Derived(_) => Err(NameError::NotAnArray(flat)),
            // Members are judged as trees, which an indexed slice is not.
            Access::Indexed(..) => Ok(Access::paths(path, flat)),
            other => Ok(other),
        }
    }

    /// The way to a field of an array's member.
    pub(super) fn of_member(name: &str) -> Result<Access, NameError> {
        checked(name).map(Access::Member)
    }

    fn paths(path: Path, flat: String) -> Access {
        if path.first() == Some(POD_SPEC) && path.len() > 1 {
            Access::Pod(pod_paths(&path.rest()).into(), dotted(flat))
        } else {
            Access::Paths([Rooted::of(&path)].into(), dotted(flat))
        }
    }

    /// The fields of an audit event it leads to, as dotted paths; of a computed field those
    /// it is computed from. Below an array's member they begin at the member.
    pub(super) fn places(&self) -> Vec<String> {
        match self {
            Access::Indexed(field, _) => vec![field.path().to_owned()],
            Access::Derived(derived) => {
                derived.sources().iter().map(|it| it.path().to_owned()).collect()
            }
            Access::Computed(term) => term.places(),
            Access::Paths(paths, _) | Access::Pod(paths, _) => {
                paths.iter().map(Rooted::place).collect()
            }
            Access::Annotation(key) => {
                vec![Path::parse("annotations").join(&Path::of_key(key)).to_string()]
            }
            Access::Loose { target, .. } => target.places(),
            Access::Member(path) => vec![path.to_string()],
            Access::Itself => Vec::new(),
        }
    }

    /// Whether of an audit event these fields alone decide what is found.
    pub(super) fn decided_by(&self, fields: &[Field]) -> bool {
        match self {
            Access::Indexed(field, _) => fields.contains(field),
            Access::Derived(derived) => derived.sources().iter().all(|it| fields.contains(it)),
            Access::Annotation(_) => fields.contains(&Field::Annotations),
            Access::Paths(paths, _) => {
                let root = |it: &Rooted| it.root.field().is_some_and(|it| fields.contains(&it));
                paths.iter().all(root)
            }
            Access::Computed(_)
            | Access::Pod(..)
            | Access::Loose { .. }
            | Access::Member(_)
            | Access::Itself => false,
        }
    }

    /// Numbers the paths, so that what lies at them is looked up once per event and set.
    pub(super) fn number(&mut self, numbers: &mut Numbers) {
        self.number_for(numbers, None);
    }

    /// As [`Access::number`]. Of the values only what is at some paths below is looked at, or all
    /// for `None`.
    pub(super) fn number_for(&mut self, numbers: &mut Numbers, below: Option<&[Path]>) {
        let patched = matches!(self, Access::Pod(..));
        match self {
            Access::Paths(paths, _) | Access::Pod(paths, _) => {
                for path in paths.iter_mut() {
                    path.numbers = numbers.of(path.root, &path.path);
                    numbers.want(path.root, &path.path, below);
                    path.wanted = true;
                }
                let last = |it: &Rooted| it.numbers.last().copied();
                let lasts: Option<Vec<u32>> = paths.iter().map(last).collect();
                if let Some(first) = paths.first_mut() {
                    first.field = lasts.map(|it| numbers.field(patched, it));
                }
            }
            Access::Loose { literal, target, .. } => {
                literal.number_for(numbers, below);
                target.number_for(numbers, below);
            }
            Access::Indexed(..)
            | Access::Derived(_)
            | Access::Annotation(_)
            | Access::Computed(_)
            | Access::Member(_)
            | Access::Itself => {}
        }
    }

    /// The number of a field that lies at paths, the same for the same field of a rule set; none
    /// before it is in one.
    pub(super) fn field(&self) -> Option<u32> {
        match self {
            Access::Paths(paths, _) | Access::Pod(paths, _) => {
                paths.first().and_then(|it| it.field)
            }
            _ => None,
        }
    }

    /// What it costs to get at the values, in nanoseconds, roughly: cheap ways come first.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Access::Indexed(..) => 10,
            Access::Derived(derived) => derived.cost(),
            Access::Computed(term) if term.is_cheap() => 40,
            Access::Computed(_) => 250,
            Access::Itself | Access::Member(_) => 40,
            Access::Annotation(_) => 300,
            Access::Paths(paths, _) | Access::Pod(paths, _) => {
                u32::try_from(paths.len()).unwrap_or(1_000).saturating_mul(20).saturating_add(300)
            }
            Access::Loose { target, .. } => target.cost().saturating_add(5),
        }
    }

    /// Shows every value of the field to `visit` until it returns `true`, and returns that.
    /// Not called at all: the field is missing.
    pub(super) fn visit(&self, scope: Scope<'_, '_>, visit: Visit<'_>) -> bool {
        let context = scope.context;
        match self {
            Access::Indexed(_, Some(flat))
            | Access::Paths(_, Some(flat))
            | Access::Pod(_, Some(flat))
                if !context.audit && context.has_key(flat) =>
            {
                let value = context.tree(Root::Line).and_then(|tree| tree.get(flat));
                value.is_some_and(|it| visit(View::Tree(it)))
            }
            Access::Indexed(field, _) => match context.event.json(*field) {
                Some(json) => visit(View::Raw(json)),
                None => !context.audit && listed(*field, context, visit),
            },
            Access::Derived(derived) => {
                context.audit && derived.visit(context, &mut |text| visit(View::Text(text)))
            }
            Access::Computed(term) => term.visit(context, &mut |text| visit(View::Text(text))),
            Access::Paths(paths, _) => visit_paths(paths, context, visit),
            Access::Pod(paths, _) => match context.patched() {
                None => visit_paths(paths, context, visit),
                Some(tree) => paths.iter().any(|it| it.path.visit(&tree, visit)),
            },
            Access::Annotation(key) => {
                annotation(context, key).is_some_and(|value| visit(View::Tree(value)))
            }
            Access::Loose { key, literal, target } => {
                let named = key.as_ref().is_some_and(|it| context.has_key(it));
                if named || !context.audit {
                    literal.visit(scope, visit)
                } else {
                    target.visit(scope, visit)
                }
            }
            Access::Member(path) => scope.member.is_some_and(|it| path.visit(&it, visit)),
            Access::Itself => scope.member.is_some_and(|it| visit(View::Tree(it))),
        }
    }
}

/// Shows the values of an indexed field behind a list, which the decoder does not look into. An
/// audit event has no list there.
fn listed(field: Field, context: &Context<'_, '_>, visit: Visit<'_>) -> bool {
    let path = Path::parse(field.path());
    let Some(root) = path.first().and_then(Root::of) else { return false };
    let json = root.field().and_then(|it| context.event.json(it));
    json.is_some_and(|it| it.starts_with('['))
        && context.tree(root).is_some_and(|tree| path.rest().visit(&tree, visit))
}

/// What names mean at some place in a rule: the event, or one member of an array in it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'e> {
    pub(super) context: &'s Context<'s, 'e>,
    pub(super) member: Option<Tree<'s>>,
}

impl Rooted {
    fn of(path: &Path) -> Rooted {
        match path.first().and_then(Root::of) {
            Some(root) => Rooted::new(root, path.rest()),
            None => Rooted::new(Root::Line, path.clone()),
        }
    }

    fn new(root: Root, path: Path) -> Rooted {
        let opens = path.first().filter(|_| root == Root::Line).and_then(Field::at);
        let first = path.steps().first().filter(|_| root == Root::Annotations);
        let key = first.map(|it| Mention::of(it.key()));
        Rooted { root, path, numbers: Box::default(), wanted: false, field: None, opens, key }
    }

    /// What an audit event has if the path leads anywhere in it.
    pub(super) fn opening(&self) -> Opening<'_> {
        match (self.root.field().or(self.opens), self.path.first()) {
            (Some(field), _) => Opening::Field(field),
            (None, Some(key)) => Opening::Key(key),
            (None, None) => Opening::Unknown,
        }
    }

    /// Whether the line may hold the path's first key, found without parsing the values.
    fn named(&self, context: &Context<'_, '_>) -> bool {
        match (self.opens, self.path.first()) {
            (Some(field), _) => context.event.json(field).is_some(),
            (None, Some(key)) => context.has_key(key),
            (None, None) => true,
        }
    }

    /// Whether the path may lead anywhere, as far as is known without parsing what is below its root.
    fn may_lead(&self, context: &Context<'_, '_>) -> bool {
        let Some(key) = &self.key else {
            // An audit event's keys are known, so a foreign field costs no parse of the line.
            return self.root != Root::Line || !context.audit || self.named(context);
        };
        let json = self.root.field().and_then(|it| context.event.json(it));
        json.is_some_and(|it| key.may_be_in(it))
    }

    /// The whole path, from the event's top.
    fn place(&self) -> String {
        match self.root.key() {
            Some(key) if self.path.len() == 0 => key.to_owned(),
            Some(key) => format!("{key}.{}", self.path),
            None => self.path.to_string(),
        }
    }
}

/// Shows what lies at a field's paths, which all begin at one root.
fn visit_paths(paths: &[Rooted], context: &Context<'_, '_>, visit: Visit<'_>) -> bool {
    let Some(first) = paths.first() else { return false };
    if !first.may_lead(context) {
        return false;
    }
    let wanted = if first.wanted { context.wanted(first.root) } else { None };
    let whole = || context.tree(first.root);
    let Some(tree) = wanted.or_else(whole) else { return false };
    let places = first.field.filter(|_| wanted.is_some()).and_then(|number| {
        context.field(&tree, number, paths.iter().map(|it| (&it.path, &*it.numbers)))
    });
    match places {
        None => paths.iter().any(|it| it.path.visit(&tree, visit)),
        Some(mut places) => places.any(|at| {
            context.place(at).and_then(|it| tree.at(it)).is_some_and(|it| visit(View::Tree(it)))
        }),
    }
}

/// The value of the annotation whose key is `key` once every dot of it is a `_`.
fn annotation<'c>(context: &Context<'c, '_>, key: &str) -> Option<Tree<'c>> {
    let same = |it: &str| it.chars().map(|c| if c == '.' { '_' } else { c }).eq(key.chars());
    let found = context.tree(Root::Annotations)?;
    found.fields().filter(|(it, _)| same(it)).last().map(|(_, value)| value)
}

fn checked(name: &str) -> Result<Path, NameError> {
    let path = Path::parse(name);
    if path.len() > STEPS_MAX { Err(NameError::TooDeep(name.to_owned())) } else { Ok(path) }
}

fn dotted(flat: String) -> Flat {
    flat.contains('.').then(|| flat.into())
}

/// The paths of a field of a pod's spec.
fn pod_paths(below: &Path) -> Vec<Rooted> {
    let rooted = |path: Path| Rooted::new(Root::RequestObject, path);
    let specs = POD_SPECS.iter().map(|it| Path::parse(it));
    if below.first() != Some(ANY_CONTAINER) {
        return specs.map(|spec| rooted(spec.join(below))).collect();
    }
    let below = below.rest();
    let kinds = || CONTAINERS.iter().map(|it| Path::parse(it));
    specs
        .flat_map(|spec| kinds().map(move |kind| spec.join(&kind)))
        .map(|containers| rooted(containers.join(&below)))
        .collect()
}
