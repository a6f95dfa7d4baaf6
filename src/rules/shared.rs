//! Parts of rules that are judged once, however many rules or events ask.
//!
//! A pack of rules says the same many times: this is the write of a workload, this user is a
//! controller of the platform. Such a part has a number in its set, and what it says of an event is
//! noted under it. A part that asks of nothing but the caller is noted for the caller.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::access::Scope;
use super::callers::{CALLER, Callers};
use super::compile::Node;
use super::memo;

/// What costs less, in nanoseconds, is judged each time: looking it up would be no cheaper.
const COST_MIN: u32 = 20;

/// What looking up a part costs that was judged.
const KNOWN_COST: u32 = 4;

/// One of the places where a part stands.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    answer: Answer,
    node: Box<Node>,
}

/// Where the answer of a part is noted, by the part's number.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// For the event. The part stands in so many places.
    Event { number: u32, places: u32 },
    /// For the caller.
    Caller { number: u32 },
}

impl Shared {
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// What judging it costs here, when all places bear the cost alike.
    pub(super) fn cost(&self) -> u32 {
        match self.answer {
            Answer::Event { places, .. } => {
                (self.node.rank() / places.max(1)).saturating_add(KNOWN_COST)
            }
            Answer::Caller { .. } => KNOWN_COST,
        }
    }

    pub(super) fn holds(&self, scope: Scope<'_, '_>) -> bool {
        let context = scope.context;
        // Outside its set its number means nothing.
        let Some(judged) = context.judged() else { return self.node.holds(scope) };
        match self.answer {
            Answer::Event { number, .. } => judged.known(number).unwrap_or_else(|| {
                let holds = self.node.holds(scope);
                judged.note(number, holds);
                holds
            }),
            // Of what is no audit event the same names may mean other places.
            Answer::Caller { .. } if !context.audit => self.node.holds(scope),
            Answer::Caller { number } => {
                let known = judged.callers.borrow_mut().answer(context.event, number);
                known.unwrap_or_else(|| {
                    let holds = self.node.holds(scope);
                    judged.callers.borrow_mut().note(number, holds);
                    holds
                })
            }
        }
    }
}

/// What the shared parts of a set say of one event.
#[derive(Debug)]
pub(super) struct Judged {
    /// By number: twice the stamp of the event, and one more where the part holds.
    known: RefCell<Vec<u64>>,
    stamp: Cell<u64>,
    callers: RefCell<Callers>,
}

impl Default for Judged {
    /// No part was judged at the first stamp.
    fn default() -> Judged {
        Judged { known: RefCell::default(), stamp: Cell::new(1), callers: RefCell::default() }
    }
}

impl Judged {
    /// Forgets what was judged: the set with this identity is to judge an event.
    pub(super) fn begin(&self, set: u64) {
        self.stamp.set(self.stamp.get() + 1);
        self.callers.borrow_mut().next_event(set);
    }

    fn known(&self, number: u32) -> Option<bool> {
        let known = self.known.borrow().get(number as usize).copied()?;
        (known >> 1 == self.stamp.get()).then_some(known & 1 == 1)
    }

    fn note(&self, number: u32, holds: bool) {
        let noted = self.stamp.get() << 1 | u64::from(holds);
        memo::note(&mut self.known.borrow_mut(), number, noted);
    }
}

/// Finds the parts of a set's rules that need be judged once only. What must hold together is put in
/// order anew: a part that many rules ask for costs each little.
pub(super) fn share(nodes: &mut [Node]) {
    let mut parts = BTreeMap::new();
    nodes.iter().for_each(|it| count(it, &mut parts));
    let (mut events, mut callers) = (0, 0);
    for part in parts.values_mut() {
        part.answer = match part {
            Part { of_caller: true, .. } => Some(Answer::Caller { number: next(&mut callers) }),
            Part { places: 0 | 1, .. } => None,
            Part { places, .. } => {
                Some(Answer::Event { number: next(&mut events), places: *places })
            }
        };
    }
    nodes.iter_mut().for_each(|it| replace(it, &parts));
}

fn next(count: &mut u32) -> u32 {
    *count += 1;
    *count - 1
}

#[derive(Default)]
struct Part {
    places: u32,
    of_caller: bool,
    answer: Option<Answer>,
}

/// What a part is known by: a hash of all it says.
type Name = [u8; 32];

/// Counts a part and those in it. What is asked of an array's members has no one answer.
fn count(node: &Node, parts: &mut BTreeMap<Name, Part>) {
    let of_caller = node.decided_by(&CALLER);
    if node.cost() >= COST_MIN {
        let part = parts.entry(name(node)).or_default();
        part.places += 1;
        part.of_caller = of_caller;
    }
    if !of_caller {
        node.parts().iter().for_each(|it| count(it, parts));
    }
}

fn replace(node: &mut Node, parts: &BTreeMap<Name, Part>) {
    let part = if node.cost() >= COST_MIN { parts.get(&name(node)) } else { None };
    if part.is_none_or(|it| !it.of_caller) {
        node.parts_mut().iter_mut().for_each(|it| replace(it, parts));
        if let Node::All(parts) = node {
            parts.sort_by_key(Node::rank);
        }
    }
    if let Some(answer) = part.and_then(|it| it.answer) {
        let judged = std::mem::replace(node, Node::All(Box::default()));
        *node = Node::Shared(Shared { answer, node: Box::new(judged) });
    }
}

fn name(node: &Node) -> Name {
    let mut said = Said(Sha256::new());
    // A hasher takes all that is written.
    write!(said, "{node:?}").unwrap_or_default();
    said.0.finalize().into()
}

/// Takes the text of a node's every part, which differs where nodes do.
struct Said(Sha256);

impl Write for Said {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
