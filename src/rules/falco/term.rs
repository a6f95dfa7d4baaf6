//! What a Falco check looks at, with its names resolved and its types checked: a field,
//! or transformers over fields and literals.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::ast;
use super::field::{self, FieldError, Reading, Type};
use super::transform::{Transform, TransformError};
use super::values::Values;
use crate::event::Field;
use crate::rules::scratch::Context;

/// Something an event has values of.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) enum Term {
    Field(Reading),
    Literal(String),
    List(Vec<Term>),
    Call(Transform, Vec<Term>),
}

/// What a term's values are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) struct Shape {
    pub(in crate::rules) kind: Type,
    /// Whether there may be several.
    pub(in crate::rules) list: bool,
}

/// Why a term has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum TermError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Transform(#[from] TransformError),
}

impl Term {
    /// Resolves a term as the condition's parser left it.
    pub(in crate::rules) fn of(term: &ast::Term) -> Result<Term, TermError> {
        Ok(match term {
            ast::Term::Field { name, argument } => {
                Term::Field(Reading::of(name, argument.as_deref())?)
            }
            ast::Term::Literal(text) => Term::Literal(text.clone()),
            ast::Term::List(terms) => Term::List(Term::all(terms)?),
            ast::Term::Call { name, arguments, argument } => {
                let arguments = Term::all(arguments)?;
                match Transform::of(name, argument.as_deref(), &arguments)? {
                    Some(transform) => Term::Call(transform, arguments),
                    // `val(x)` is x: it only keeps x from being taken for a literal.
                    None => arguments.into_iter().next().unwrap_or(Term::List(Vec::new())),
                }
            }
        })
    }

    fn all(terms: &[ast::Term]) -> Result<Vec<Term>, TermError> {
        terms.iter().map(Term::of).collect()
    }

    pub(in crate::rules) fn shape(&self) -> Shape {
        match self {
            Term::Field(reading) => Shape { kind: reading.kind(), list: reading.is_list() },
            Term::Literal(_) => Shape { kind: Type::Text, list: false },
            Term::List(_) => Shape { kind: Type::Text, list: true },
            Term::Call(transform, arguments) => transform.shape(arguments),
        }
    }

    /// What a rule that uses the term should know about its fields.
    pub(super) fn cautions(&self) -> Vec<String> {
        match self {
            Term::Field(reading) => field::caution(&reading.name).into_iter().collect(),
            Term::Literal(_) => Vec::new(),
            Term::List(terms) | Term::Call(_, terms) => {
                terms.iter().flat_map(Term::cautions).collect()
            }
        }
    }

    /// The fields of an audit event it is read from, as dotted paths.
    pub(in crate::rules) fn places(&self) -> Vec<String> {
        match self {
            Term::Field(reading) => reading.places(),
            Term::Literal(_) => Vec::new(),
            Term::List(terms) | Term::Call(_, terms) => {
                terms.iter().flat_map(Term::places).collect()
            }
        }
    }

    /// Notes every field in it, and where an audit event has that.
    pub(in crate::rules) fn fields(&self, fields: &mut BTreeMap<String, Vec<String>>) {
        match self {
            Term::Field(reading) => {
                let places = reading.places();
                // What no event holds is not looked at.
                if !places.is_empty() {
                    fields.insert(reading.to_string(), places);
                }
            }
            Term::Literal(_) => {}
            Term::List(terms) | Term::Call(_, terms) => {
                terms.iter().for_each(|it| it.fields(fields));
            }
        }
    }

    /// A field without which the event has no value of the term.
    pub(in crate::rules) fn root(&self) -> Option<Field> {
        match self {
            Term::Field(reading) => reading.root(),
            Term::Call(_, arguments) => arguments.iter().find_map(Term::root),
            // Of a list one member is enough.
            Term::Literal(_) | Term::List(_) => None,
        }
    }

    /// The place in the decoder's index that holds the term's very values.
    pub(in crate::rules) fn indexed(&self) -> Option<Field> {
        match self {
            Term::Field(reading) => reading.indexed(),
            _ => None,
        }
    }

    /// Whether it needs no more than the decoder's index.
    pub(in crate::rules) fn is_cheap(&self) -> bool {
        match self {
            Term::Field(reading) => reading.is_cheap(),
            Term::Literal(_) => true,
            Term::List(terms) | Term::Call(_, terms) => terms.iter().all(Term::is_cheap),
        }
    }

    /// The values the event has; none: the term is missing.
    pub(in crate::rules) fn values<'v>(&'v self, context: &Context<'v, 'v>) -> Values<'v> {
        match self {
            Term::Field(reading) => reading.values(context),
            Term::Literal(text) => vec![Cow::Borrowed(text)],
            Term::List(terms) => terms.iter().flat_map(|it| it.values(context)).collect(),
            Term::Call(transform, arguments) => {
                let values: Vec<Values<'v>> =
                    arguments.iter().map(|it| it.values(context)).collect();
                let counts = arguments.first().is_some_and(|it| it.shape().list);
                transform.apply(values, counts)
            }
        }
    }

    /// Shows every value to `visit` until it returns `true`, and returns that.
    pub(in crate::rules) fn visit(
        &self,
        context: &Context<'_, '_>,
        visit: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        match self {
            Term::Field(reading) => reading.visit(context, visit),
            _ => self.values(context).iter().any(|it| visit(it)),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Field(reading) => reading.fmt(f),
            Term::Literal(text) => write!(f, "{text:?}"),
            Term::List(terms) => listed(terms, f),
            Term::Call(transform, arguments) => {
                f.write_str(transform.name())?;
                listed(arguments, f)?;
                transform.selected().map_or(Ok(()), |it| write!(f, "[{it}]"))
            }
        }
    }
}

fn listed(terms: &[Term], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("(")?;
    for (at, term) in terms.iter().enumerate() {
        f.write_str(if at > 0 { ", " } else { "" })?;
        write!(f, "{term}")?;
    }
    f.write_str(")")
}
