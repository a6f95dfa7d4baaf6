//! A line -> its rows, however deep events stand in it.

use std::ops::Range;
use std::sync::Arc;

use super::json::Object;
use super::taken::Taken;
use super::{DEPTH_MAX, ITEM, ITEMS_MAX, UNPACKED_BYTES_MAX};
use super::{aks, eks, gke, legacy, list, packed, prefix, truncated};
use crate::decode::line::line;
use crate::decode::row::{Row, Wrapped};
use crate::event::{Event, Flaw};

/// What a text is beside an event.
#[derive(Debug)]
pub(super) enum Shape {
    /// It holds one event, or says that it holds none.
    One(Taken),
    /// It holds several.
    List(List),
    /// It holds texts that are packed; where they stand.
    Packed(Vec<Range<usize>>),
}

/// The members of a list.
#[derive(Debug)]
pub(super) struct List {
    items: Vec<Range<usize>>,
    /// Whether it is known for a list of events; otherwise one of its members has to be known for one.
    sure: bool,
}

impl List {
    /// A list that says of itself what it is.
    pub(super) fn sure(items: Vec<Range<usize>>) -> List {
        List { items, sure: true }
    }

    /// A list that is one of events only if an event is in it.
    pub(super) fn unsure(items: Vec<Range<usize>>) -> List {
        List { items, sure: false }
    }
}

/// What a text is. `None`: nothing but itself.
fn shape(text: &str, first: &Result<Event<'_>, Flaw>, depth: usize) -> Option<Shape> {
    let shape = match first {
        Ok(event) if event.is_audit() || !event.extra_keys() => None,
        Ok(_) => {
            let object = Object::of(text)?;
            packed::object(text, &object)
                .or_else(|| list::object(&object))
                .or_else(|| gke::open(text, &object).map(Shape::One))
                .or_else(|| aks::open(text, &object).map(Shape::One))
                .or_else(|| eks::open(&object))
        }
        Err(Flaw::NotAnObject) => list::of_array(text),
        Err(_) => legacy::open(text)
            .or_else(|| prefix::open(text))
            .or_else(|| truncated::open(text.as_bytes()))
            .map(Shape::One),
    }?;
    match &shape {
        Shape::List(List { items, sure: false }) => {
            let known =
                |it: &Range<usize>| text.get(it.clone()).is_some_and(|it| is_known(it, depth));
            items.iter().any(known).then_some(shape)
        }
        _ => Some(shape),
    }
}

/// Whether a member of a list is an event, or known to hold one.
fn is_known(text: &str, depth: usize) -> bool {
    let first = line(text.as_bytes());
    first.as_ref().is_ok_and(Event::is_audit)
        || (depth < DEPTH_MAX && shape(text, &first, depth + 1).is_some())
}

/// The bytes that a row keeps.
#[derive(Debug, Clone)]
enum Kept {
    /// They stand in the line.
    Line(Range<usize>),
    /// They stand in what was unpacked.
    Unpacked(usize, Range<usize>),
    /// A list without its members.
    List(Vec<u8>),
}

#[derive(Debug)]
struct Held {
    kept: Kept,
    wrapped: Wrapped,
    taken: Result<Taken, Flaw>,
}

/// What a line came to: it owns what its rows borrow.
#[derive(Debug, Default)]
pub struct Opened {
    rows: Vec<Held>,
    unpacked: Vec<Arc<str>>,
    unpacked_bytes: usize,
}

impl Opened {
    /// The rows, in their order. `line` is the one that was opened.
    pub fn rows<'a>(&'a self, line: &'a [u8]) -> Vec<Row<'a>> {
        self.rows.iter().map(|it| self.row(it, line)).collect()
    }

    fn row<'a>(&'a self, held: &'a Held, line: &'a [u8]) -> Row<'a> {
        let raw = match &held.kept {
            Kept::Line(range) => line.get(range.clone()),
            Kept::Unpacked(at, range) => {
                self.unpacked.get(*at).and_then(|it| it.as_bytes().get(range.clone()))
            }
            Kept::List(bytes) => Some(bytes.as_slice()),
        };
        let raw = raw.unwrap_or_default();
        let (event, offset) = match &held.taken {
            Ok(taken) => taken.decode(raw),
            Err(flaw) => (Err(*flaw), None),
        };
        let provenance = held.taken.as_ref().ok().and_then(|it| it.provenance.as_ref());
        Row { raw, event, offset, wrapped: held.wrapped, provenance }
    }

    fn push(&mut self, at: &Place<'_>, taken: Result<Taken, Flaw>) {
        self.rows.push(Held { kept: at.kept(), wrapped: at.wrapped, taken });
    }

    /// Adds the rows of a text.
    fn add(&mut self, at: &Place<'_>) {
        let first = line(at.text.as_bytes());
        match shape(at.text, &first, at.depth) {
            None => self.push(at, Ok(Taken::itself())),
            Some(Shape::One(taken)) => self.push(at, Ok(taken)),
            Some(_) if at.depth >= DEPTH_MAX => self.push(at, Err(Flaw::TooDeep)),
            Some(Shape::List(list)) => self.add_list(at, &list.items),
            Some(Shape::Packed(packed)) => self.add_packed(at, &packed),
        }
    }

    fn add_list(&mut self, at: &Place<'_>, items: &[Range<usize>]) {
        if self.rows.len().saturating_add(items.len()) > ITEMS_MAX {
            return self.push(at, Err(Flaw::TooMany));
        }
        // What was unpacked stands whole in the row that it was unpacked from.
        let unpacked = at.wrapped == Wrapped::Unpacked;
        if !unpacked {
            let kept = Kept::List(without(at.text, items));
            let taken = Err(Flaw::NotAnEvent);
            self.rows.push(Held { kept, wrapped: Wrapped::List, taken });
        }
        let wrapped = if unpacked { Wrapped::Unpacked } else { Wrapped::Item };
        for item in items {
            self.add(&at.within(item.clone(), wrapped));
        }
    }

    fn add_packed(&mut self, at: &Place<'_>, packed: &[Range<usize>]) {
        if at.wrapped != Wrapped::Unpacked {
            let taken = Err(Flaw::NotAnEvent);
            self.rows.push(Held { kept: at.kept(), wrapped: Wrapped::Packed, taken });
        }
        for range in packed {
            let within = at.within(range.clone(), Wrapped::Unpacked);
            match packed::unpack(within.text, UNPACKED_BYTES_MAX - self.unpacked_bytes) {
                Ok(text) => self.add_unpacked(text.into(), within.depth),
                Err(flaw) => self.push(&within, Err(flaw)),
            }
        }
    }

    fn add_unpacked(&mut self, text: Arc<str>, depth: usize) {
        self.unpacked_bytes += text.len();
        self.unpacked.push(Arc::clone(&text));
        let buffer = Some(self.unpacked.len() - 1);
        let whole = Place { text: &text, buffer, start: 0, wrapped: Wrapped::Unpacked, depth };
        let mut start = 0;
        for piece in text.split_inclusive('\n') {
            let end = start + piece.trim_end_matches('\n').len();
            if self.rows.len() > ITEMS_MAX {
                let rest = whole.within(start..text.len(), Wrapped::Unpacked);
                return self.push(&rest, Err(Flaw::TooMany));
            }
            if !piece.trim_ascii().is_empty() {
                self.add(&Place { depth, ..whole.within(start..end, Wrapped::Unpacked) });
            }
            start += piece.len();
        }
    }
}

/// Where a text stands.
struct Place<'t> {
    text: &'t str,
    /// Which of the unpacked texts it stands in; `None`: the line.
    buffer: Option<usize>,
    start: usize,
    wrapped: Wrapped,
    depth: usize,
}

impl<'t> Place<'t> {
    fn within(&self, range: Range<usize>, wrapped: Wrapped) -> Place<'t> {
        Place {
            text: self.text.get(range.clone()).unwrap_or_default(),
            buffer: self.buffer,
            start: self.start + range.start,
            wrapped,
            depth: self.depth + 1,
        }
    }

    fn kept(&self) -> Kept {
        let range = self.start..self.start + self.text.len();
        self.buffer.map_or(Kept::Line(range.clone()), |it| Kept::Unpacked(it, range))
    }
}

/// A list with one byte in place of each of its members.
fn without(text: &str, items: &[Range<usize>]) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut kept = Vec::new();
    let mut from = 0;
    for item in items {
        kept.extend_from_slice(bytes.get(from..item.start).unwrap_or_default());
        kept.push(ITEM);
        from = item.end;
    }
    kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
    kept
}

/// Looks into a line that is no audit event itself. `first` is what [`line`] made of it. `None`: the line is
/// one row, and `first` is what there is to it.
pub fn open(bytes: &[u8], first: &Result<Event<'_>, Flaw>) -> Option<Opened> {
    let mut opened = Opened::default();
    let Ok(text) = std::str::from_utf8(bytes) else {
        // Not even a cut within a character keeps what stands before it from being told.
        let taken = truncated::open(bytes)?;
        let (kept, wrapped) = (Kept::Line(0..bytes.len()), Wrapped::Alone);
        opened.rows.push(Held { kept, wrapped, taken: Ok(taken) });
        return Some(opened);
    };
    let whole = Place { text, buffer: None, start: 0, wrapped: Wrapped::Alone, depth: 0 };
    match shape(text, first, 0)? {
        Shape::One(taken) => opened.push(&whole, Ok(taken)),
        Shape::List(list) => opened.add_list(&whole, &list.items),
        Shape::Packed(packed) => opened.add_packed(&whole, &packed),
    }
    Some(opened)
}

/// Hands the event, or other object, of one stored row to `take`. `None`: the row holds none.
pub fn stored<T>(raw: &[u8], take: impl FnOnce(&Event<'_>) -> T) -> Option<T> {
    let first = line(raw);
    if let Ok(event) = &first
        && event.is_audit()
    {
        return Some(take(event));
    }
    let Some(opened) = open(raw, &first) else { return first.ok().as_ref().map(take) };
    // Members have rows of their own.
    match opened.rows.as_slice() {
        [held] if held.wrapped == Wrapped::Alone => {
            opened.row(held, raw).event.ok().as_ref().map(take)
        }
        _ => None,
    }
}

/// The events, or other objects, of a text, each as text of its own. What is wrapped is not known for
/// what it is any more: for looking at, not for keeping.
///
/// # Errors
/// The reason when there is none.
pub fn texts(bytes: &[u8]) -> Result<Vec<String>, Flaw> {
    let first = line(bytes);
    let opened = match &first {
        Ok(event) if event.is_audit() => None,
        _ => open(bytes, &first),
    };
    let Some(opened) = opened else { return first.map(|it| vec![it.line().to_owned()]) };
    let rows = opened.rows(bytes);
    Ok(rows.into_iter().filter_map(|it| it.event.ok()).map(|it| it.line().to_owned()).collect())
}
