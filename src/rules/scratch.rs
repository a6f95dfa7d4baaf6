//! What is worked out about one event while rules judge it, at most once each.

use std::cell::{Cell, OnceCell};

use serde_json::Value;

use super::derived::Reason;
use super::{patch, raw, tree};
use crate::event::{Event, Field, unquote};

/// A top-level value that is parsed on its own, so that a rule on a request's
/// body does not pay for the response's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    fn field(self) -> Option<Field> {
        ROOTS.get(self as usize).copied()
    }
}

/// One worker's memory for matching. It is emptied for every event and may serve
/// any number of rule sets, one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    trees: [OnceCell<Option<Value>>; Root::Line as usize + 1],
    written: OnceCell<Option<Value>>,
    top: OnceCell<Vec<String>>,
    reason: OnceCell<Option<Reason>>,
    unread: Cell<u64>,
    pub(super) candidates: Vec<u64>,
    pub(super) allowed: Vec<u64>,
}

impl Scratch {
    /// Bodies that a rule asked for and that are nested deeper than 128 levels, since
    /// the scratch was made. What lies below counts as `null`.
    pub fn bodies_unread(&self) -> u64 {
        self.unread.get()
    }

    /// Forgets the last event.
    pub(super) fn clear(&mut self) {
        for tree in &mut self.trees {
            tree.take();
        }
        self.written.take();
        self.top.take();
        self.reason.take();
    }
}

/// One event under judgement.
#[derive(Clone, Copy)]
pub(super) struct Context<'c, 'e> {
    pub(super) event: &'c Event<'e>,
    pub(super) scratch: &'c Scratch,
    /// Whether it is an audit event: only then do audit names mean anything.
    pub(super) audit: bool,
}

impl<'c, 'e: 'c> Context<'c, 'e> {
    pub(super) fn new(event: &'c Event<'e>, scratch: &'c Scratch) -> Context<'c, 'e> {
        Context { event, scratch, audit: event.is_audit() }
    }

    /// The parsed value at a root. `None`: absent.
    pub(super) fn tree(&self, root: Root) -> Option<&'c Value> {
        let scratch = self.scratch;
        let tree = scratch.trees.get(root as usize)?.get_or_init(|| {
            let json = match root.field() {
                Some(field) => self.event.json(field)?,
                None => self.line(),
            };
            let (tree, whole) = tree::parse(json);
            if !whole {
                scratch.unread.set(scratch.unread.get() + 1);
            }
            Some(tree)
        });
        tree.as_ref()
    }

    /// The object that the request writes: its body, or what its JSON patch comes to.
    pub(super) fn written(&self) -> Option<&'c Value> {
        match self.tree(Root::RequestObject)? {
            Value::Array(operations) => {
                self.scratch.written.get_or_init(|| patch::written(operations)).as_ref()
            }
            body => Some(body),
        }
    }

    /// The line from its first brace on: some writers put a byte order mark before it.
    fn line(&self) -> &'c str {
        let line = self.event.line();
        line.find('{').and_then(|at| line.get(at..)).unwrap_or_default()
    }

    /// Whether the object has this key, found without parsing the values.
    pub(super) fn has_key(&self, key: &str) -> bool {
        let keys = self.scratch.top.get_or_init(|| {
            raw::keys(self.line()).filter_map(unquote).map(|it| it.into_owned()).collect()
        });
        keys.iter().any(|it| it == key)
    }

    /// What the authorizer's reason says, when it is RBAC's.
    pub(super) fn reason(&self) -> Option<&'c Reason> {
        let reason = self.scratch.reason.get_or_init(|| {
            self.event.text(Field::DecisionReason).and_then(|text| Reason::parse(&text))
        });
        reason.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_is_found_by_its_key() {
        for root in ALL {
            assert_eq!(Root::of(root.field().unwrap().path()), Some(root));
        }
        assert_eq!(Root::of("verb"), None);
    }

    #[test]
    fn a_body_nested_too_deep_is_counted_once() {
        let line = format!(r#"{{"a":{}1{},"b":2}}"#, "[".repeat(200), "]".repeat(200));
        let event = Event::of(&line);
        let scratch = Scratch::default();
        let context = Context::new(&event, &scratch);
        assert_eq!(context.tree(Root::Line).unwrap()["b"], 2);
        assert!(context.tree(Root::Line).is_some() && context.has_key("a"));
        assert_eq!(scratch.bodies_unread(), 1);
    }
}
