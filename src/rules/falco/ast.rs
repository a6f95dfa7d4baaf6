//! A Falco condition as a tree, after its macros and lists were put in.
//!
//! `condition` reads it, `load` puts macros and lists in, `lower` turns it into the
//! intermediate form that rules of every dialect share.

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Check(Check),
    /// A macro's name that was not put in; none is left when a rule is lowered.
    Macro(String),
}

/// A field against values.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) struct Check {
    pub(in crate::rules) left: Term,
    pub(in crate::rules) operator: Operator,
    pub(in crate::rules) right: Right,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) enum Term {
    /// `ka.verb`, `jevt.value[/stage]`; the argument is what stood in brackets, unquoted.
    Field { name: String, argument: Option<String> },
    /// A transformer: `tolower(ka.user.name)`, `concat(a, "-", b)`.
    /// `argument` is what stood in brackets behind it: `getopt(ka.uri, "n:")["n"]`.
    Call { name: String, arguments: Vec<Term>, argument: Option<String> },
    /// A literal among a transformer's arguments.
    Literal(String),
    /// A literal list among a transformer's arguments: `join(",", (a, b))`.
    List(Vec<Term>),
}

/// What a check compares with.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) enum Right {
    /// Nothing: `exists`.
    None,
    Value(String),
    /// `in (a, b)`: lists among its members were put in.
    List(Vec<String>),
    /// `startswith oneof (a, b)`: the operator against each of them.
    Each(Quantity, Vec<String>),
    /// `= val(ka.user.name)` or a transformer: another term of the event.
    Term(Term),
}

/// How many of several values must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Quantity {
    /// `oneof`: exactly one.
    One,
    /// `anyof`
    Any,
    /// `allof`
    All,
}

/// Falco's comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Exists,
    Contains,
    IContains,
    BContains,
    StartsWith,
    BStartsWith,
    EndsWith,
    Glob,
    IGlob,
    Regex,
    In,
    Intersects,
    PMatch,
}
