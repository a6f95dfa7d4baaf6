//! What is worked out about one event while rules judge it, at most once each.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::ops::Range;

use super::derived::Reason;
use super::memo::Memo;
use super::path::Path;
use super::shared::Judged;
use super::tree::{Parts, Tree};
use super::wanted::Wanted;
use super::{patch, prefilter, raw, spare};
use crate::event::{Event, Field, unquote_into};

/// A top-level value that is parsed on its own, so that a rule on a request's
/// body does not pay for the response's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub(super) enum Root {
    User,
    ImpersonatedUser,
    ObjectRef,
    ResponseStatus,
    RequestObject,
    ResponseObject,
    Annotations,
    /// The whole line: for keywords, and for fields that no audit event has.
    Line,
}

/// The field that holds each root, in the order of the enum; the line has none.
const ROOTS: [Field; Root::Line as usize] = [
    Field::User,
    Field::ImpersonatedUser,
    Field::ObjectRef,
    Field::ResponseStatus,
    Field::RequestObject,
    Field::ResponseObject,
    Field::Annotations,
];

const ALL: [Root; Root::Line as usize] = [
    Root::User,
    Root::ImpersonatedUser,
    Root::ObjectRef,
    Root::ResponseStatus,
    Root::RequestObject,
    Root::ResponseObject,
    Root::Annotations,
];

impl Root {
    /// The root that a top-level key opens.
    pub(super) fn of(key: &str) -> Option<Root> {
        ALL.into_iter().find(|root| root.field().is_some_and(|it| it.path() == key))
    }

    /// The top-level key that opens it; the line has none.
    pub(super) fn key(self) -> Option<&'static str> {
        self.field().map(Field::path)
    }

    pub(super) fn field(self) -> Option<Field> {
        ROOTS.get(self as usize).copied()
    }
}

/// One worker's memory for matching. It is emptied for every event and may serve
/// any number of rule sets, one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The roots, all of each.
    trees: [OnceCell<Parts>; Root::Line as usize + 1],
    /// The roots, as far as the paths of the rule set lead.
    wanted: [OnceCell<Parts>; Root::Line as usize + 1],
    /// What the JSON patch in the request's body writes, as text and as parts.
    patched: OnceCell<(String, Parts)>,
    /// Lists of earlier events, to be filled again.
    spare: RefCell<Vec<Parts>>,
    memo: RefCell<Memo>,
    judged: Judged,
    /// Where the keys of the line stand, once they were asked for.
    keys: RefCell<Vec<Range<usize>>>,
    listed: Cell<bool>,
    reason: RefCell<Reason>,
    /// Whether there is a reason; `None`: it was not asked for.
    reasoned: Cell<Option<bool>>,
    /// Bodies that were parsed: whether there is anything to forget.
    parsed: Cell<u64>,
    unread: Cell<u64>,
    pub(super) prefilter: prefilter::Memory,
}

impl Scratch {
    /// Bodies that a rule asked for and that are nested deeper than 128 levels, or are a
    /// JSON patch that goes over a limit, since the scratch was made. What lies below
    /// counts as `null`.
    pub fn bodies_unread(&self) -> u64 {
        self.unread.get()
    }

    /// Parts that were read now. `known` are those of the same text, if it was read before.
    fn read(&self, known: Option<&Parts>, read: impl FnOnce(&mut Parts)) -> Parts {
        let mut parts = self.spare.borrow_mut().pop().unwrap_or_default();
        read(&mut parts);
        if !parts.whole() && known.is_none_or(Parts::whole) {
            self.unread.set(self.unread.get() + 1);
        }
        self.parsed.set(self.parsed.get() + 1);
        parts
    }

    /// Forgets the last event.
    pub(super) fn clear(&mut self) {
        self.reasoned.set(None);
        self.listed.set(false);
        if self.parsed.replace(0) == 0 {
            return;
        }
        self.memo.get_mut().clear();
        for tree in self.trees.iter_mut().chain(&mut self.wanted) {
            let parts = tree.take().filter(Parts::worth_keeping);
            self.spare.get_mut().extend(parts);
        }
        self.patched.take();
    }
}

/// One event under judgement.
#[derive(Clone, Copy)]
pub(super) struct Context<'c, 'e> {
    pub(super) event: &'c Event<'e>,
    pub(super) scratch: &'c Scratch,
    /// Whether it is an audit event: only then do audit names mean anything.
    pub(super) audit: bool,
    /// The paths that have numbers, where the rule set is known.
    wanted: Option<&'c Wanted>,
}

impl<'c, 'e: 'c> Context<'c, 'e> {
    pub(super) fn new(event: &'c Event<'e>, scratch: &'c Scratch) -> Context<'c, 'e> {
        Context { event, scratch, audit: event.is_audit(), wanted: None }
    }

    /// For the rule set with this identity, by its paths that have numbers: what is at them is then
    /// read alone, and remembered, as is what the set's shared parts say.
    pub(super) fn of_set(self, wanted: &'c Wanted, identity: u64) -> Context<'c, 'e> {
        self.scratch.judged.begin(identity);
        Context { wanted: Some(wanted), ..self }
    }

    /// What the shared parts of the set's rules say, where there is a set.
    pub(super) fn judged(&self) -> Option<&'c Judged> {
        self.wanted.map(|_| &self.scratch.judged)
    }

    /// The parsed value at a root. `None`: absent.
    pub(super) fn tree(&self, root: Root) -> Option<Tree<'c>> {
        let json = self.json(root)?;
        let scratch = self.scratch;
        let known = scratch.wanted.get(root as usize).and_then(OnceCell::get);
        let parts = scratch.trees.get(root as usize)?;
        let parts = parts.get_or_init(|| scratch.read(known, |it| it.read(json)));
        parts.tree(json)
    }

    /// The parsed value at a root, as far as the numbered paths lead: for [`Context::field`] alone.
    /// `None`: absent, or no paths were numbered.
    pub(super) fn wanted(&self, root: Root) -> Option<Tree<'c>> {
        let wanted = self.wanted?.root(root)?;
        let json = self.json(root)?;
        let scratch = self.scratch;
        let known = scratch.trees.get(root as usize).and_then(OnceCell::get);
        let parts = scratch.wanted.get(root as usize)?;
        let parts = parts.get_or_init(|| scratch.read(known, |it| it.read_wanted(json, wanted)));
        parts.tree(json)
    }

    fn json(&self, root: Root) -> Option<&'c str> {
        match root.field() {
            Some(field) => self.event.json(field),
            None => Some(self.line()),
        }
    }

    /// See [`Memo::field`]; `tree` is what [`Context::wanted`] gives.
    pub(super) fn field<'p>(
        &self,
        tree: &Tree<'_>,
        number: u32,
        paths: impl Iterator<Item = (&'p Path, &'p [u32])> + Clone,
    ) -> Option<Range<u32>> {
        self.scratch.memo.borrow_mut().field(tree, number, paths)
    }

    /// See [`Memo::place`].
    pub(super) fn place(&self, index: u32) -> Option<u32> {
        self.scratch.memo.borrow().place(index)
    }

    /// The object that the request's JSON patch writes. `None`: its body is no JSON patch.
    pub(super) fn patched(&self) -> Option<Tree<'c>> {
        self.event.json(Field::RequestObject).filter(|it| it.starts_with('['))?;
        let operations = self.tree(Root::RequestObject)?;
        let (text, parts) = self.scratch.patched.get_or_init(|| {
            let (text, whole) = patch::written(&operations);
            if !whole {
                self.scratch.unread.set(self.scratch.unread.get() + 1);
            }
            let mut parts = Parts::default();
            parts.read(&text);
            (text, parts)
        });
        parts.tree(text)
    }

    /// The line from its first brace on: some writers put a byte order mark before it.
    pub(super) fn line(&self) -> &'c str {
        let line = self.event.line();
        memchr::memchr(b'{', line.as_bytes()).and_then(|at| line.get(at..)).unwrap_or_default()
    }

    /// Whether the object has this key, found without parsing the values.
    pub(super) fn has_key(&self, key: &str) -> bool {
        if !self.event.extra_keys() {
            // The path of an inner field is no key of the object.
            let field = Field::at(key).filter(|_| !key.contains('.'));
            return field.is_some_and(|it| self.event.json(it).is_some());
        }
        self.any_key(&mut |it| it == key)
    }

    /// Shows every key of the object, unless it surely has none but those of audit events.
    pub(super) fn each_extra_key(&self, show: &mut dyn FnMut(&str)) {
        if self.event.extra_keys() {
            self.any_key(&mut |key| {
                show(key);
                false
            });
        }
    }

    fn any_key(&self, is: &mut dyn FnMut(&str) -> bool) -> bool {
        let line = self.line();
        let mut keys = self.scratch.keys.borrow_mut();
        if !self.scratch.listed.replace(true) {
            keys.clear();
            keys.extend(raw::keys(line));
        }
        keys.iter().filter_map(|at| line.get(at.clone())).any(|written| {
            if written.contains('\\') {
                return spare::buffer(|text| unquote_into(written, text) && is(text));
            }
            written.strip_prefix('"').and_then(|it| it.strip_suffix('"')).is_some_and(&mut *is)
        })
    }

    /// What the authorizer's reason says, when it is RBAC's.
    pub(super) fn reason(&self) -> Option<Ref<'c, Reason>> {
        let scratch = self.scratch;
        if scratch.reasoned.get().is_none() {
            let json = self.event.json(Field::DecisionReason);
            let read = json.and_then(|json| {
                spare::buffer(|text| {
                    unquote_into(json, text)
                        .then(|| scratch.reason.borrow_mut().read(text))
                        .flatten()
                })
            });
            scratch.reasoned.set(Some(read.is_some()));
        }
        (scratch.reasoned.get() == Some(true)).then(|| scratch.reason.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Span;

    #[test]
    fn every_root_is_found_by_its_key() {
        for root in ALL {
            assert_eq!(Root::of(root.field().unwrap().path()), Some(root));
        }
        assert_eq!(Root::of("verb"), None);
    }

    #[test]
    fn the_path_of_an_inner_field_is_no_key() {
        // As the decoder would make it.
        let mut event = Event::of(r#"{"user":{"username":"a"},"verb":"get"}"#);
        event.set_extra_keys(false);
        event.set(Field::User, Span { start: 8, end: 24 });
        event.set(Field::Username, Span { start: 20, end: 23 });
        let scratch = Scratch::default();
        let context = Context::new(&event, &scratch);
        assert!(context.has_key("user") && !context.has_key("user.username"));
    }

    #[test]
    fn a_body_nested_too_deep_is_counted_once() {
        let line = format!(r#"{{"a":{}1{},"b":2}}"#, "[".repeat(200), "]".repeat(200));
        let event = Event::of(&line);
        let scratch = Scratch::default();
        let context = Context::new(&event, &scratch);
        assert_eq!(context.tree(Root::Line).unwrap().get("b").unwrap().json(), "2");
        assert!(context.tree(Root::Line).is_some() && context.has_key("a"));
        assert_eq!(scratch.bodies_unread(), 1);
    }
}
