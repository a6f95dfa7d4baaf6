//! The columns of stored rows -> the rows whose lines a rule may match. Most rows are no rule's, and their lines, with
//! the bodies that are most of an archive, need not be read to know it.
//!
//! One rule: a row is passed only when its columns say all there is to know of what the rules ask: its line is an audit
//! event that holds each value as the API server writes it, and has no key that such an event has not. Of any other row
//! the line is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::archive::read::{self, ReadError};
use crate::archive::schema::{CUTS, Form, SKELETON, VERBATIM};
use crate::archive::skeleton::{MarkSet, model};
use crate::archive::stored::StoredFile;
use crate::decode;
use crate::event::Field;
use crate::rules::{Asked, Known, Open, RuleSet};

/// Fields of which nearly every event has another value: they are looked at last.
const DIVERSE: [Field; 5] =
    [Field::AuditId, Field::RequestUri, Field::Name, Field::ObjectUid, Field::ResourceVersion];

/// Skeletons and values that are remembered of one row group.
const REMEMBERED_MAX: usize = 65_536;

/// What is known of the rows of a row group.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Place and stage time of the rows that no rule matches.
    pub(super) passed: Vec<(i64, i64)>,
    /// The rows whose lines have to be read, in order.
    pub(super) wanted: Vec<u32>,
}

/// How a field that rules ask for is known.
#[derive(Debug, Clone)]
struct Column {
    field: Field,
    name: &'static str,
    /// The mark that stands for it in a skeleton, or for what it is told in.
    mark: u8,
    kind: Kind,
    /// The alternatives that ask for it.
    asking: Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The column has the value. Where it has none although there is one, nothing is known.
    Value,
    /// Only that it is there is looked at.
    Presence,
    /// It is not cut out of the line, so that the skeleton has it.
    Line,
}

/// What all lines with one skeleton have in common.
#[derive(Debug)]
struct Shape {
    /// What is open whatever the values are.
    open: Open,
    /// The columns whose values are still to be looked at, by their number.
    values: Vec<usize>,
}

/// The shapes of skeletons. `None`: a line of this shape has to be read.
#[derive(Debug, Default)]
struct Shapes {
    /// The dictionary that the numbers are of.
    of: Option<ArrayRef>,
    numbered: Vec<Option<Option<Arc<Shape>>>>,
    /// Of skeletons without a dictionary.
    named: BTreeMap<Box<[u8]>, Option<Arc<Shape>>>,
}

impl Shapes {
    fn begin(&mut self, values: &ArrayRef) {
        if !self.of.as_ref().is_some_and(|it| read::is_same_dictionary(it, values)) {
            self.of = Some(Arc::clone(values));
            self.numbered = vec![None; values.len()];
        }
    }
}

/// What rules ask of columns, and what was found of values so far.
#[derive(Debug)]
pub(super) struct Glance {
    asked: Asked,
    columns: Vec<Column>,
    shapes: Shapes,
}

impl Glance {
    /// `None`: the rules have to see every line.
    pub(super) fn of(rules: &RuleSet) -> Option<Glance> {
        let all: Vec<Field> = columns().map(|it| it.field).collect();
        let asked = Asked::of(rules, &all)?;
        let fields: Vec<Field> = asked.fields().collect();
        let mut columns: Vec<Column> = columns().filter(|it| fields.contains(&it.field)).collect();
        columns.sort_by_key(|it| DIVERSE.contains(&it.field));
        for column in &mut columns {
            column.asking = asked.asking(column.field);
            // Bodies are what is not to be read, and annotations are short.
            if column.field == Field::Annotations && asked.tests(column.field) {
                column.kind = Kind::Value;
            }
        }
        Some(Glance { asked, columns, shapes: Shapes::default() })
    }

    /// Looks at a row group. `None`: more than half of the lines would have to be read.
    pub(super) fn rows(
        &mut self,
        file: &StoredFile,
        group: usize,
    ) -> Result<Option<Seen>, ReadError> {
        let failed = ReadError::arrow(&file.path);
        let values = self.columns.iter().filter(|it| it.kind == Kind::Value).map(|it| it.name);
        let names: Vec<&str> = ["seq", "time", SKELETON].into_iter().chain(values).collect();
        let mut seen = Seen::default();
        let mut opens: Vec<Opens> = self.columns.iter().map(|_| Opens::default()).collect();
        self.shapes = Shapes::default();
        let mut first = 0;
        for batch in read::distinct_batches_of(&file.path, group, &names)? {
            let batch = batch.map_err(&failed)?;
            self.batch(&batch, first, &mut opens, &mut seen).map_err(&failed)?;
            first += u32::try_from(batch.num_rows()).unwrap_or(0);
        }
        let few = seen.wanted.len() <= seen.passed.len();
        Ok(few.then_some(seen))
    }

    fn batch(
        &mut self,
        batch: &RecordBatch,
        first: u32,
        opens: &mut [Opens],
        seen: &mut Seen,
    ) -> Result<(), ArrowError> {
        let places = named(batch, "seq")?.as_primitive::<Int64Type>();
        let times = named(batch, "time")?.as_primitive::<TimestampMicrosecondType>();
        let skeletons = Values::of(named(batch, SKELETON)?);
        let mut columns = Vec::new();
        for (column, known) in self.columns.iter().zip(&mut *opens) {
            let values = match column.kind {
                Kind::Value => Some(Values::of(named(batch, column.name)?)),
                Kind::Presence | Kind::Line => None,
            };
            values.iter().for_each(|it| known.begin(it));
            columns.push(values);
        }
        if let Values::Keys { values, .. } = &skeletons {
            self.shapes.begin(values);
        }
        let mut open = Vec::new();
        for (row, at) in (first..).zip(0..batch.num_rows()) {
            let shape = self.shape(&skeletons, at);
            let closed = shape.is_some_and(|shape| {
                open.clear();
                open.extend_from_slice(&shape.open);
                for number in &shape.values {
                    let of =
                        (self.columns.get(*number), columns.get(*number), opens.get_mut(*number));
                    let (Some(column), Some(Some(values)), Some(known)) = of else { return false };
                    if open.iter().zip(&column.asking).all(|(open, asking)| open & asking == 0) {
                        continue;
                    }
                    let more = known.of(&self.asked, column.field, values, at);
                    if narrowed(&mut open, &more) {
                        return true;
                    }
                }
                open.iter().all(|it| *it == 0)
            });
            if closed && times.is_valid(at) {
                seen.passed.push((places.value(at), times.value(at)));
            } else {
                seen.wanted.push(row);
            }
        }
        Ok(())
    }

    fn shape(&mut self, skeletons: &Values<'_>, row: usize) -> Option<Arc<Shape>> {
        let (at, skeleton) = (skeletons.number(row), skeletons.bytes(row));
        if let Some(Some(known)) = at.and_then(|it| self.shapes.numbered.get(it)) {
            return known.clone();
        }
        if let Some(known) = self.shapes.named.get(skeleton) {
            return known.clone();
        }
        let shape = self.shaped(skeleton).map(Arc::new);
        if let Some(slot) = at.and_then(|it| self.shapes.numbered.get_mut(it)) {
            *slot = Some(shape.clone());
        } else if self.shapes.named.len() < REMEMBERED_MAX {
            self.shapes.named.insert(skeleton.into(), shape.clone());
        }
        shape
    }

    fn shaped(&self, skeleton: &[u8]) -> Option<Shape> {
        let (line, marks) = model(skeleton)?;
        let event = decode::line(&line).ok()?;
        let cut = |field: Field| CUTS.iter().any(|it| it.field == field && has(marks, it.mark));
        let told = [Field::AuditId, Field::Stage, Field::StageTimestamp].into_iter().all(cut);
        if event.extra_keys() || !event.is_audit() || !told {
            return None;
        }
        let mut shape = Shape { open: self.asked.all(), values: Vec::new() };
        for (number, column) in self.columns.iter().enumerate() {
            let json = event.json(column.field);
            let text = event.text(column.field);
            let texts: Vec<&str> = text.as_deref().into_iter().collect();
            let known = match column.kind {
                Kind::Line if json.is_none() => Known::Absent,
                Kind::Line if text.is_some() => Known::Texts(&texts),
                Kind::Line => Known::Something,
                Kind::Presence if has(marks, column.mark) => Known::Something,
                Kind::Value if has(marks, column.mark) => {
                    shape.values.push(number);
                    continue;
                }
                // It is there and not as the API server writes it, or twice.
                _ if json.is_some() => return None,
                _ => Known::Absent,
            };
            narrowed(&mut shape.open, &self.asked.open(column.field, known));
        }
        Some(shape)
    }
}

/// Leaves open what is in both; true: nothing is.
fn narrowed(open: &mut [u64], more: &[u64]) -> bool {
    let mut any = 0;
    for (open, more) in open.iter_mut().zip(more) {
        *open &= more;
        any |= *open;
    }
    any == 0
}

fn has(marks: MarkSet, mark: u8) -> bool {
    marks >> mark & 1 == 1
}

/// Every field of which something can be known without the line.
fn columns() -> impl Iterator<Item = Column> {
    let annotations = CUTS.iter().find(|it| it.field == Field::Annotations).map_or(0, |it| it.mark);
    Field::all().filter_map(move |field| {
        let column = |name, mark, kind| Column { field, name, mark, kind, asking: Open::default() };
        match CUTS.iter().find(|it| it.field == field) {
            Some(cut) if cut.form == Form::Time => None,
            Some(cut) => {
                let kind = if cut.form == Form::Json { Kind::Presence } else { Kind::Value };
                Some(column(cut.name, cut.mark, kind))
            }
            None => match field {
                Field::Decision => Some(column("decision", annotations, Kind::Value)),
                Field::DecisionReason => Some(column("decision_reason", annotations, Kind::Value)),
                Field::Truncated => None,
                _ => Some(column("", 0, Kind::Line)),
            },
        }
    })
}

fn named<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef, ArrowError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

/// The values of a column in one batch.
enum Values<'b> {
    /// Each row has the number of its value.
    Keys {
        keys: &'b Int32Array,
        values: &'b ArrayRef,
    },
    /// Each row has the numbers of its members.
    Lists {
        lists: &'b ListArray,
        values: &'b ArrayRef,
    },
    Plain(&'b ArrayRef),
}

impl<'b> Values<'b> {
    fn of(column: &'b ArrayRef) -> Values<'b> {
        if let Some(it) = column.as_dictionary_opt::<Int32Type>() {
            return Values::Keys { keys: it.keys(), values: it.values() };
        }
        let lists = column.as_list_opt::<i32>();
        let members =
            lists.and_then(|it| Some((it, it.values().as_dictionary_opt::<Int32Type>()?)));
        match members {
            Some((lists, members)) => Values::Lists { lists, values: members.values() },
            None => Values::Plain(column),
        }
    }

    /// The number of a row's value.
    fn number(&self, row: usize) -> Option<usize> {
        match self {
            Values::Keys { keys, .. } if keys.is_valid(row) => {
                usize::try_from(keys.value(row)).ok()
            }
            _ => None,
        }
    }

    /// The bytes of a row; those of no skeleton where there is no value.
    fn bytes(&self, row: usize) -> &'b [u8] {
        let (values, at) = match self {
            Values::Keys { values, .. } => (*values, self.number(row)),
            Values::Plain(values) => (*values, Some(row)),
            Values::Lists { .. } => return &[VERBATIM],
        };
        let binary = at.zip(values.as_binary_opt::<i32>());
        binary.filter(|(at, it)| it.is_valid(*at)).map_or(&[VERBATIM], |(at, it)| it.value(at))
    }
}

/// What the values of a column leave open, as far as it was asked.
#[derive(Debug, Default)]
struct Opens {
    /// The dictionary that the numbers are of.
    of: Option<ArrayRef>,
    numbered: Vec<Option<Arc<Open>>>,
    /// By the numbers of the members, or by the value itself.
    named: BTreeMap<Box<[u8]>, Arc<Open>>,
    name: Vec<u8>,
}

impl Opens {
    fn begin(&mut self, values: &Values<'_>) {
        let (Values::Keys { values, .. } | Values::Lists { values, .. }) = values else { return };
        if !self.of.as_ref().is_some_and(|it| read::is_same_dictionary(it, values)) {
            self.of = Some(Arc::clone(values));
            self.numbered = vec![None; values.len()];
            self.named.clear();
        }
    }

    fn of(&mut self, asked: &Asked, field: Field, column: &Values<'_>, row: usize) -> Arc<Open> {
        self.name.clear();
        let known = match column {
            Values::Keys { .. } => {
                column.number(row).and_then(|it| self.numbered.get(it)).and_then(Option::as_ref)
            }
            Values::Lists { lists, .. } => {
                self.name.push(u8::from(lists.is_valid(row)));
                let members = lists.value(row);
                let keys = members.as_dictionary_opt::<Int32Type>().map(|it| it.keys());
                let numbers = keys.into_iter().flat_map(|it| it.values());
                numbers.for_each(|it| self.name.extend_from_slice(&it.to_le_bytes()));
                self.named.get(&*self.name)
            }
            Values::Plain(array) if !DIVERSE.contains(&field) => {
                name(array, row, &mut self.name);
                self.named.get(&*self.name)
            }
            Values::Plain(_) => return Arc::new(open(asked, field, column, row)),
        };
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let made = Arc::new(open(asked, field, column, row));
        match column {
            Values::Keys { .. } => {
                let slot = column.number(row).and_then(|it| self.numbered.get_mut(it));
                slot.into_iter().for_each(|it| *it = Some(Arc::clone(&made)));
            }
            _ if self.named.len() < REMEMBERED_MAX => {
                self.named.insert(self.name.as_slice().into(), Arc::clone(&made));
            }
            _ => {}
        }
        made
    }
}

/// What a value leaves open.
fn open(asked: &Asked, field: Field, column: &Values<'_>, row: usize) -> Open {
    let unknown = || asked.open(field, Known::Unknown);
    let one = |array: &ArrayRef, at: usize| {
        if let Some(texts) = array.as_string_opt::<i32>().filter(|it| it.is_valid(at)) {
            let text = texts.value(at);
            return asked.open(field, known(field, &[text], text));
        }
        match array.as_primitive_opt::<Int32Type>().filter(|it| it.is_valid(at)) {
            Some(numbers) => asked.open(field, Known::Number(numbers.value(at))),
            None => unknown(),
        }
    };
    match column {
        Values::Keys { values, .. } => {
            column.number(row).map_or_else(unknown, |it| one(values, it))
        }
        Values::Plain(array) => one(array, row),
        Values::Lists { lists, .. } => {
            let members = lists.value(row);
            let members = members.as_dictionary_opt::<Int32Type>();
            let texts = members.and_then(|it| it.downcast_dict::<StringArray>());
            match texts.filter(|_| lists.is_valid(row)) {
                Some(texts) => {
                    let texts: Vec<&str> = texts.into_iter().flatten().collect();
                    asked.open(field, Known::Texts(&texts))
                }
                None => unknown(),
            }
        }
    }
}

/// What the text of a column says of its field.
fn known<'v>(field: Field, one: &'v [&'v str], text: &'v str) -> Known<'v> {
    let json = CUTS.iter().any(|it| it.field == field && it.form == Form::Json);
    if json { Known::Json(text) } else { Known::Texts(one) }
}

/// The bytes that a value is known by: a length of its own where there is none.
fn name(array: &ArrayRef, at: usize, out: &mut Vec<u8>) {
    if let Some(texts) = array.as_string_opt::<i32>().filter(|it| it.is_valid(at)) {
        out.push(0);
        out.extend_from_slice(texts.value(at).as_bytes());
    } else if let Some(numbers) = array.as_primitive_opt::<Int32Type>().filter(|it| it.is_valid(at))
    {
        out.extend_from_slice(&numbers.value(at).to_le_bytes());
    }
}
