//! What rules ask of single fields, for whoever has the values of fields and not the event: a stored column tells
//! for which rows the line has to be read.
//!
//! One rule: an event that a rule matches passes here. What is not known of a field passes, whatever is asked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::demand;
use super::key::{Key, Source};
use super::word::Word;
use crate::event::{Event, Field, Span};
use crate::rules::access::Scope;
use crate::rules::compile::Node;
use crate::rules::scratch::{Context, Scratch};
use crate::rules::set::RuleSet;
use crate::rules::text::lower;

/// What is known of a field of an event.
#[derive(Debug, Clone, Copy)]
pub enum Known<'v> {
    /// It is not there.
    Absent,
    /// It is there, and is one of these: the members of an array of texts, or the one text.
    Texts(&'v [&'v str]),
    /// It is this whole number.
    Number(i32),
    /// It is this JSON text.
    Json(&'v str),
    /// It is there, and no more is known of it.
    Something,
    /// Nothing is known of it.
    Unknown,
}

/// Which of the rules' alternatives an event may still meet, one bit each.
pub type Open = Box<[u64]>;

/// What an alternative asks of a field.
#[derive(Debug)]
struct Clause {
    alternative: usize,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    /// One of the words must be there: texts within a value, or whole values.
    Words { within: bool, words: Vec<Word> },
    /// It must hold, and the field alone decides it.
    Test(Node),
}

/// What the rules of a set ask of the fields of an audit event.
#[derive(Debug)]
pub struct Asked {
    alternatives: usize,
    fields: BTreeMap<Field, Vec<Clause>>,
}

impl Asked {
    /// What a set asks of these fields. `None`: one of its rules asks nothing of them, so that every event may be its.
    pub fn of(rules: &RuleSet, fields: &[Field]) -> Option<Asked> {
        let mut asked = Asked { alternatives: 0, fields: BTreeMap::new() };
        for node in rules.nodes().iter().flat_map(demand::alternatives) {
            let alternative = asked.alternatives;
            let mut ask = |field: Field, ask: Ask| {
                asked.fields.entry(field).or_default().push(Clause { alternative, ask });
            };
            let mut any = false;
            for (key, words) in demand::demands(node).clauses {
                let (within, field) = match key {
                    Key::Values(Source::Field(field)) => (false, field),
                    Key::Literals(Source::Field(field)) => (true, field),
                    _ => continue,
                };
                if fields.contains(&field) {
                    any = true;
                    ask(field, Ask::Words { within, words: words.into_iter().collect() });
                }
            }
            for part in conjuncts(node, true) {
                let by = fields.iter().find(|it| part.decided_by(&[**it]));
                by.into_iter().for_each(|it| ask(*it, Ask::Test(part.clone())));
                any |= by.is_some();
            }
            if !any {
                return None;
            }
            asked.alternatives += 1;
        }
        Some(asked)
    }

    /// Whether any rule tests the values of the field, other than for words.
    pub fn tests(&self, field: Field) -> bool {
        let clauses = self.fields.get(&field).into_iter().flatten();
        clauses.into_iter().any(|it| matches!(it.ask, Ask::Test(_)))
    }

    /// The fields that are asked for.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.fields.keys().copied()
    }

    /// All alternatives.
    pub fn all(&self) -> Open {
        let (whole, rest) = (self.alternatives / 64, self.alternatives % 64);
        let last = (rest > 0).then_some((1 << rest) - 1);
        std::iter::repeat_n(u64::MAX, whole).chain(last).collect()
    }

    /// The alternatives that ask for the field: whatever it is, the others stay as they are.
    pub fn asking(&self, field: Field) -> Open {
        let mut asking = vec![0; self.alternatives.div_ceil(64)];
        for clause in self.fields.get(&field).into_iter().flatten() {
            if let Some(bits) = asking.get_mut(clause.alternative / 64) {
                *bits |= 1 << (clause.alternative % 64);
            }
        }
        asking.into()
    }

    /// The alternatives that an event may still meet in which this is known of the field.
    pub fn open(&self, field: Field, known: Known<'_>) -> Open {
        let mut open = self.all();
        let texts: Vec<Cow<'_, str>> = match known {
            Known::Texts(texts) => texts.iter().map(|it| lower(it)).collect(),
            Known::Number(number) => vec![number.to_string().into()],
            _ => Vec::new(),
        };
        let alone = if self.tests(field) { Alone::new(field, known) } else { None };
        let event = alone.as_ref().map(Alone::event);
        let scratch = Scratch::default();
        let context = event.as_ref().map(|it| Context::new(it, &scratch));
        let may = |node: &Node| context.as_ref().is_none_or(|it| may_satisfy(it, node));
        for clause in self.fields.get(&field).into_iter().flatten() {
            let met = match &clause.ask {
                Ask::Words { within, words } => {
                    words.iter().any(|word| met(word, *within, known, &texts))
                }
                Ask::Test(node) => may(node),
            };
            if met {
                continue;
            }
            if let Some(bits) = open.get_mut(clause.alternative / 64) {
                *bits &= !(1 << (clause.alternative % 64));
            }
        }
        open
    }
}

/// The parts that must all hold if a part is to hold, or is not to: those without parts of their own.
fn conjuncts(node: &Node, holds: bool) -> Vec<Node> {
    let inner = |parts: &[Node]| parts.iter().flat_map(|it| conjuncts(it, holds)).collect();
    match (node.itself(), holds) {
        (Node::All(parts), true) | (Node::Any(parts), false) => inner(parts),
        (Node::Not(part), _) => conjuncts(part, !holds),
        (other, true) => vec![other.clone()],
        (other, false) => vec![Node::Not(Box::new(other.clone()))],
    }
}

/// An audit event of which one field is known.
struct Alone {
    field: Field,
    /// What stands for the fields that every audit event has, and after it the value as JSON.
    line: String,
}

impl Alone {
    const OTHER: &str = "\"\"";

    /// `None`: the value is not known.
    fn new(field: Field, known: Known<'_>) -> Option<Alone> {
        let value = match known {
            Known::Absent => String::new(),
            Known::Texts(texts) if LISTS.contains(&field) => serde_json::to_string(texts).ok()?,
            Known::Texts([text]) => serde_json::to_string(text).ok()?,
            Known::Number(number) => number.to_string(),
            Known::Json(json) => json.to_owned(),
            Known::Texts(_) | Known::Something | Known::Unknown => return None,
        };
        Some(Alone { field, line: format!("{}{value}", Alone::OTHER) })
    }

    fn event(&self) -> Event<'_> {
        let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        let (start, end) = (number(Alone::OTHER.len()), number(self.line.len()));
        let mut event = Event::of(&self.line);
        event.set_extra_keys(false);
        event.set(Field::AuditId, Span { start: 0, end: start });
        event.set(Field::Stage, Span { start: 0, end: start });
        if end > start {
            event.set(self.field, Span { start, end });
        }
        event
    }
}

/// Of what is taken for no audit event, the names may mean other places.
fn may_satisfy(context: &Context<'_, '_>, node: &Node) -> bool {
    !context.audit || node.holds(Scope { context, member: None })
}

/// Fields that are lists of texts.
const LISTS: [Field; 3] = [Field::UserGroups, Field::ImpersonatedGroups, Field::SourceIps];

/// Whether a value may have the word. `texts` are its members in lower case.
fn met(word: &Word, within: bool, known: Known<'_>, texts: &[Cow<'_, str>]) -> bool {
    match (known, word) {
        (Known::Unknown, _) => true,
        (Known::Absent, word) => *word == Word::Absent,
        (_, Word::Present) => true,
        // What is there may be `null`.
        (Known::Something | Known::Json(_), _) => true,
        (_, Word::Absent) => false,
        (_, Word::Text(text)) if within => texts.iter().any(|it| it.contains(text.as_str())),
        (_, Word::Text(text)) => texts.iter().any(|it| it == text),
        (_, Word::Contains(text)) => texts.iter().any(|it| it.contains(text.as_str())),
        (_, Word::Starts(text)) => texts.iter().any(|it| it.starts_with(text.as_str())),
        (_, Word::Ends(text)) => texts.iter().any(|it| it.ends_with(text.as_str())),
        // Numbers are written in many ways.
        (_, Word::Number(_)) => {
            texts.iter().any(|it| it.trim().parse().is_ok_and(|it: f64| Word::number(it) == *word))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, load_text};

    fn asked(detection: &str) -> Option<Asked> {
        let rule = format!("title: T\nid: t\ndetection:\n  {}\n", detection.replace('\n', "\n  "));
        let rules = load_text([("r.yml", rule.as_str())], &LoadOptions::default()).unwrap().rules;
        Asked::of(&rules, &[Field::Verb, Field::Username, Field::Resource, Field::Code])
    }

    fn open(asked: &Asked, field: Field, known: Known<'_>) -> bool {
        asked.open(field, known)[0] != 0
    }

    #[test]
    fn a_value_that_no_rule_asks_for_closes_and_what_is_not_known_does_not() {
        let asked = asked("a:\n  verb: [Get, list]\n  user.username|startswith: 'Bob'\n  objectRef.resource: null\n  responseStatus.code: 403\ncondition: a").unwrap();
        for (field, known, want) in [
            (Field::Verb, Known::Texts(&["GET"]), true),
            (Field::Verb, Known::Texts(&["watch"]), false),
            (Field::Verb, Known::Texts(&["watch", "list"]), true),
            (Field::Verb, Known::Texts(&[]), false),
            (Field::Verb, Known::Absent, false),
            (Field::Verb, Known::Something, true),
            (Field::Verb, Known::Unknown, true),
            (Field::Username, Known::Texts(&["bobby"]), true),
            (Field::Username, Known::Texts(&["a bob"]), false),
            (Field::Resource, Known::Absent, true),
            (Field::Resource, Known::Texts(&["pods"]), false),
            (Field::Code, Known::Number(403), true),
            (Field::Code, Known::Number(200), false),
            (Field::Namespace, Known::Absent, true),
        ] {
            assert_eq!(open(&asked, field, known), want, "{field:?} {known:?}");
        }
    }

    #[test]
    fn what_the_value_alone_decides_closes() {
        let asked = asked("a:\n  kustos.userKind: person\nb:\n  user.username: [alice, 'b*']\nc:\n  verb: get\n  user.username: carol\ncondition: a and not b and not c").unwrap();
        for (user, want) in [("alice", false), ("BOB", false), ("carol", true), ("system:x", false)]
        {
            assert_eq!(open(&asked, Field::Username, Known::Texts(&[user])), want, "{user}");
        }
        assert!(!open(&asked, Field::Username, Known::Absent));
        assert!(open(&asked, Field::Username, Known::Unknown));
        assert!(open(&asked, Field::Verb, Known::Texts(&["get"])));
    }

    #[test]
    fn a_rule_that_asks_for_nothing_may_match_every_event() {
        assert!(asked("a:\n  userAgent: x\ncondition: not a").is_none());
        assert!(asked("a:\n  requestURI: /x\ncondition: a").is_none());
        let either = asked("a:\n  verb: get\nb:\n  objectRef.resource: pods\ncondition: a or b");
        let either = either.unwrap();
        assert_eq!((&*either.all(), &*either.asking(Field::Verb)), (&[3][..], &[1][..]));
        assert_eq!(&*either.asking(Field::Stage), &[0]);
    }
}
