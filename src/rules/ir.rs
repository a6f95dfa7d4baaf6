//! What a rule says, whatever dialect it was written in: metadata and one expression.
//!
//! The front ends produce it, `compile` consumes it. It is plain data: nothing
//! here has been checked against an event or turned into an automaton.

use std::path::PathBuf;

use super::correlation::{Bound, Kind, Shape};
use super::falco::{Operator, Template, Term};
use super::{Level, Profile};

/// One rule as a front end understood it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) about: About,
    pub(super) expr: Expr,
}

/// Everything a person wants to know about a rule, and nothing the matcher needs.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// `None`: the rule has none, and goes by its title.
    pub(super) id: Option<String>,
    /// What other documents may call it by, beside its id.
    pub(super) name: Option<String>,
    /// What it is for, in Sigma's words; `None`: the dialect has no such thing.
    pub(super) log_source: Option<LogSource>,
    pub(super) title: String,
    pub(super) level: Level,
    pub(super) description: String,
    pub(super) status: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) falsepositives: Vec<String>,
    pub(super) references: Vec<String>,
    pub(super) runbook: Option<String>,
    pub(super) profile: Option<Profile>,
    pub(super) behaviours: Vec<u16>,
    pub(super) file: PathBuf,
    pub(super) line: u32,
    /// What its hash is of: the document it stands in, with those that reach into it.
    pub(super) source: String,
    /// What only Falco's rules have.
    pub(super) falco: Option<Box<FalcoAbout>>,
}

/// What Falco's rules have beyond the others.
#[derive(Debug, Clone)]
pub(super) struct FalcoAbout {
    /// The condition with its macros, lists and exceptions put in.
    pub(super) condition: String,
    pub(super) priority: &'static str,
    pub(super) output: String,
    pub(super) template: Template,
    pub(super) enabled: bool,
}

/// The events a Sigma rule or filter is written for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogSource {
    pub(super) category: Option<String>,
    pub(super) product: Option<String>,
    pub(super) service: Option<String>,
}

/// A rule's logic. An empty `All` is true, an empty `Any` is false.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    AtLeast(usize, Vec<Expr>),
    Not(Box<Expr>),
    /// A field against values.
    Item(Item),
    /// Values searched in every string and number of the event.
    Keywords(Item),
    /// A term of a Falco condition against values.
    Computed {
        term: Term,
        tests: Vec<Test>,
        mode: Mode,
    },
    /// Two terms of a Falco condition against each other.
    Related {
        left: Term,
        operator: Operator,
        right: Term,
    },
    /// A body judged against one member of an array at a time.
    Members {
        field: String,
        quantifier: Quantifier,
        body: Box<Expr>,
    },
}

impl Expr {
    /// How large it is: its tests and its joints.
    pub(super) fn size(&self) -> usize {
        match self {
            Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
                1 + parts.iter().map(Expr::size).sum::<usize>()
            }
            Expr::Not(part) | Expr::Members { body: part, .. } => 1 + part.size(),
            Expr::Item(item) | Expr::Keywords(item) => item.tests.len(),
            Expr::Computed { tests, .. } => tests.len(),
            Expr::Related { .. } => 1,
        }
    }
}

/// How many members of an array must satisfy the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    /// All, and there is at least one.
    All,
    AllOrEmpty,
    None,
}

impl Quantifier {
    /// Whether it is false where there is no member.
    pub(super) fn needs_a_member(self) -> bool {
        matches!(self, Quantifier::Any | Quantifier::All)
    }
}

/// A field, and what its value must be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// Dotted path; `None` is the array member itself inside `Members`.
    pub(super) field: Option<String>,
    pub(super) tests: Vec<Test>,
    pub(super) mode: Mode,
}

/// How the tests of one item are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One value of the field passes one of the tests.
    Any,
    /// Every test is passed by some value of the field.
    All,
    /// The field is there, and none of its values passes any test.
    None,
    /// The field is there, and each of its values passes one of the tests.
    Every,
}

/// What one value may be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Text {
        pattern: Vec<Piece>,
        cased: bool,
    },
    Number(f64),
    Bool(bool),
    /// Missing, or JSON `null`.
    Null,
    Exists(bool),
    Regex(String),
    Cidr(String),
    Compare(Comparison, f64),
    /// A whole number, exactly: larger ones than an `f64` can tell apart.
    Count(Comparison, u64),
    /// Text before or after this text, byte by byte.
    Order(Comparison, String),
    /// A shell pattern with sets of characters.
    Glob {
        pattern: String,
        cased: bool,
    },
    /// A path at or below this one, whose parts are shell patterns.
    Path(String),
    Time {
        part: TimePart,
        comparison: Comparison,
        number: f64,
    },
    SameAs {
        field: String,
        place: Place,
        cased: bool,
    },
}

/// One element of a text pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    /// `?`: exactly one character.
    One,
    /// `*`: any number of characters.
    Many,
    /// Any character that introduces an option on a Windows command line.
    Dash,
}

/// The characters [`Piece::Dash`] stands for (Sigma's `windash`).
pub(super) const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Where in the value the text must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    Start,
    End,
    Anywhere,
}

/// A numeric comparison, the event's value on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A part of a point in time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimePart {
    Minute,
    Hour,
    Day,
    /// ISO 8601 week.
    Week,
    Month,
    Year,
}

impl Test {
    /// The one text it asks for, as the rule writes it.
    pub(super) fn literal(&self) -> Option<String> {
        match self {
            Test::Text { pattern, .. } => pattern
                .iter()
                .map(|piece| if let Piece::Char(c) = piece { Some(*c) } else { None })
                .collect(),
            _ => None,
        }
    }

    /// A text pattern with its wildcards, as the rule writes it; empty for other tests.
    pub(super) fn pattern(&self) -> String {
        let Test::Text { pattern, .. } = self else {
            return String::new();
        };
        let written = |piece: &Piece| match piece {
            Piece::Char(c) => *c,
            Piece::One => '?',
            Piece::Many => '*',
            Piece::Dash => '-',
        };
        pattern.iter().map(written).collect()
    }
}

/// A correlation as a front end understood it: which rules it counts, and when that is too much.
#[derive(Debug, Clone)]
pub(super) struct CorrelationDraft {
    pub(super) about: About,
    pub(super) spec: Spec,
}

/// What a correlation says. Rules and fields go by the names its author used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) rules: Vec<String>,
    pub(super) group_by: Vec<String>,
    /// As written.
    pub(super) timespan: String,
    pub(super) micros: i64,
    pub(super) shape: Shape,
    pub(super) bounds: Vec<Bound>,
    /// The fields whose values are counted or added up.
    pub(super) fields: Vec<String>,
    pub(super) percentile: f64,
    /// An extended condition, over the names in `rules`.
    pub(super) named: Option<Named>,
    /// A name in `group_by`, and what it is in each rule's events.
    pub(super) aliases: Vec<Alias>,
    /// Whether the rules it counts give findings of their own as well.
    pub(super) generate: bool,
}

/// A name, and for each rule the field it stands for there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alias {
    pub(super) name: String,
    /// The rule, and the field.
    pub(super) fields: Vec<(String, String)>,
}

/// A condition over the names of rules.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    Rule(String),
    All(Vec<Named>),
    Any(Vec<Named>),
    AtLeast(usize, Vec<Named>),
    Not(Box<Named>),
}
