//! A Falco condition in, the intermediate form out: names resolved, types checked, every
//! operator with the meaning `libsinsp` gives it.
//!
//! A check of a field the event does not have is false, whatever the operator, so `not`
//! of it is true. On a list `in` means all its values, `intersects` any.

use super::ast::{Check, Condition, Operator, Quantity, Right};
use super::condition::operator_word;
use super::field::{Reading, Type};
use super::glob::{self, Step};
use super::posix;
use super::term::{Shape, Term, TermError};
use crate::rules::ir::{Comparison, Expr, Mode, Piece, Test};
use crate::rules::matcher::MatcherError;

/// A condition in the intermediate form.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) struct Lowered {
    pub(in crate::rules) expr: Expr,
    /// Fields in it that give something else than their names say, and what.
    pub(in crate::rules) cautions: Vec<String>,
}

/// Why a condition has no meaning, and the word in the rule that is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(in crate::rules) struct LowerError {
    pub(in crate::rules) near: String,
    #[source]
    pub(in crate::rules) why: LowerFault,
}

#[derive(Debug, thiserror::Error)]
pub(in crate::rules) enum LowerFault {
    #[error(transparent)]
    Term(#[from] TermError),
    #[error(transparent)]
    Regex(#[from] MatcherError),
    #[error("macro \"{0}\" is not defined")]
    Macro(String),
    #[error("\"{term}\" is a list, which only exists, in and intersects can compare")]
    List { term: String },
    #[error("operator \"{operator}\" cannot compare {what}, which \"{term}\" is")]
    Operator { operator: &'static str, term: String, what: &'static str },
    #[error("\"{value}\" is no number, and \"{term}\" is compared with numbers")]
    Number { value: String, term: String },
    #[error("\"{value}\" is neither true nor false, and \"{term}\" is compared with these")]
    Bool { value: String, term: String },
    #[error("operator \"{operator}\" needs {needs}")]
    Needs { operator: &'static str, needs: &'static str },
    #[error("\"{left}\" and \"{right}\" cannot be compared: they are of different types")]
    Types { left: String, right: String },
}

/// What every rule asks first: Falco's source `k8s_audit` gives audit events and no
/// other objects, so a rule full of `not` fires on none of these.
const SOURCE: &str = "evt.source";

/// Lowers a condition whose macros and lists were put in.
pub(in crate::rules) fn lower(condition: &Condition) -> Result<Lowered, LowerError> {
    let mut cautions = Vec::new();
    let expr = node(condition, &mut cautions)?;
    cautions.sort_unstable();
    cautions.dedup();
    let source = Reading::of(SOURCE, None).map_err(|why| blame(SOURCE, TermError::from(why)))?;
    let exists = computed(&Term::Field(source), vec![Test::Exists(true)], Mode::Any);
    Ok(Lowered { expr: Expr::All(vec![exists, expr]), cautions })
}

fn node(condition: &Condition, cautions: &mut Vec<String>) -> Result<Expr, LowerError> {
    let nodes = |parts: &[Condition], cautions: &mut Vec<String>| {
        parts.iter().map(|it| node(it, cautions)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match condition {
        Condition::All(parts) => Expr::All(nodes(parts, cautions)?),
        Condition::Any(parts) => Expr::Any(nodes(parts, cautions)?),
        Condition::Not(part) => Expr::Not(Box::new(node(part, cautions)?)),
        Condition::Check(check) => lower_check(check, cautions)?,
        Condition::Macro(name) => return Err(blame(name, LowerFault::Macro(name.clone()))),
    })
}

fn blame(near: &str, why: impl Into<LowerFault>) -> LowerError {
    LowerError { near: near.to_owned(), why: why.into() }
}

fn lower_check(check: &Check, cautions: &mut Vec<String>) -> Result<Expr, LowerError> {
    let near = first_name(&check.left).to_owned();
    let left = Term::of(&check.left).map_err(|why| blame(&near, why))?;
    cautions.extend(left.cautions());
    let checked = Checked { near: &near, left: &left, operator: check.operator };
    checked.admit()?;
    match &check.right {
        Right::None if check.operator == Operator::Exists => {
            Ok(computed(&left, vec![Test::Exists(true)], Mode::Any))
        }
        Right::None => Err(checked.needs("a value")),
        Right::Value(value) => checked.values(std::slice::from_ref(value)),
        Right::List(values) => checked.values(values),
        Right::Each(quantity, values) => checked.each(*quantity, values),
        Right::Term(right) => {
            let near = first_name(right);
            let right = Term::of(right).map_err(|why| blame(near, why))?;
            cautions.extend(right.cautions());
            checked.related(right)
        }
    }
}

/// The first field of a term, or the transformer: a word that stands in the rule.
fn first_name(term: &super::ast::Term) -> &str {
    use super::ast::Term as Parsed;
    match term {
        Parsed::Field { name, .. } => name,
        Parsed::Literal(text) => text,
        Parsed::Call { name, arguments, .. } => {
            let fields = |it: &&Parsed| matches!(it, Parsed::Field { .. } | Parsed::Call { .. });
            arguments.iter().find(fields).map_or(name, first_name)
        }
        Parsed::List(terms) => terms.first().map_or("", first_name),
    }
}

fn computed(term: &Term, tests: Vec<Test>, mode: Mode) -> Expr {
    Expr::Computed { term: term.clone(), tests, mode }
}

/// The left side of a check, and its operator.
struct Checked<'c> {
    near: &'c str,
    left: &'c Term,
    operator: Operator,
}

impl Checked<'_> {
    fn blame(&self, why: impl Into<LowerFault>) -> LowerError {
        blame(self.near, why)
    }

    fn needs(&self, needs: &'static str) -> LowerError {
        self.blame(LowerFault::Needs { operator: self.operator.word(), needs })
    }

    /// Whether the operator can compare what the left side is.
    fn admit(&self) -> Result<(), LowerError> {
        use Operator as Op;
        let Shape { kind, list } = self.left.shape();
        let sets = matches!(self.operator, Op::Exists | Op::In | Op::Intersects);
        if list && !sets {
            return Err(self.blame(LowerFault::List { term: self.left.to_string() }));
        }
        let equal = sets || matches!(self.operator, Op::Equal | Op::NotEqual);
        let ordered =
            matches!(self.operator, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual);
        let bytes = matches!(self.operator, Op::BContains | Op::BStartsWith);
        let (admitted, what) = match kind {
            Type::Text => (!bytes, "text"),
            Type::Number => (equal || ordered, "a number"),
            Type::Bool => (equal, "true or false"),
        };
        if admitted {
            return Ok(());
        }
        let (operator, term) = (self.operator.word(), self.left.to_string());
        Err(self.blame(LowerFault::Operator { operator, term, what }))
    }

    /// The check against literals, one of which must do.
    fn values(&self, values: &[String]) -> Result<Expr, LowerError> {
        use Operator as Op;
        let several = matches!(self.operator, Op::In | Op::Intersects | Op::PMatch);
        if !several && values.len() != 1 {
            return Err(self.needs("one value"));
        }
        let mode = match self.operator {
            Op::NotEqual => Mode::None,
            Op::In if self.left.shape().list => Mode::Every,
            _ => Mode::Any,
        };
        Ok(computed(self.left, self.tests(values)?, mode))
    }

    /// `startswith oneof (a, b)`: the check against each literal, and how many must hold.
    fn each(&self, quantity: Quantity, values: &[String]) -> Result<Expr, LowerError> {
        let one = |value: &String| self.values(std::slice::from_ref(value));
        let all = || values.iter().map(one).collect::<Result<Vec<_>, _>>();
        let unequal = self.operator == Operator::NotEqual;
        Ok(match quantity {
            _ if values.is_empty() => Expr::Any(Vec::new()),
            Quantity::Any if !unequal => computed(self.left, self.tests(values)?, Mode::Any),
            Quantity::All if unequal => computed(self.left, self.tests(values)?, Mode::None),
            Quantity::Any => Expr::Any(all()?),
            Quantity::All => Expr::All(all()?),
            Quantity::One => Expr::All(vec![
                Expr::AtLeast(1, all()?),
                Expr::Not(Box::new(Expr::AtLeast(2, all()?))),
            ]),
        })
    }

    fn tests(&self, values: &[String]) -> Result<Vec<Test>, LowerError> {
        values.iter().map(|it| self.test(it)).collect()
    }

    fn test(&self, value: &str) -> Result<Test, LowerError> {
        let term = || self.left.to_string();
        match self.left.shape().kind {
            Type::Text => self.text(value).map_err(|why| self.blame(why)),
            Type::Bool if matches!(value, "true" | "false") => {
                Ok(literal(value, Side::Whole, true))
            }
            Type::Bool => {
                Err(self.blame(LowerFault::Bool { value: value.to_owned(), term: term() }))
            }
            Type::Number => match value.parse::<u64>() {
                Ok(number) => Ok(Test::Count(comparison(self.operator), number)),
                Err(_) => {
                    Err(self.blame(LowerFault::Number { value: value.to_owned(), term: term() }))
                }
            },
        }
    }

    fn text(&self, value: &str) -> Result<Test, MatcherError> {
        Ok(match self.operator {
            Operator::Contains => literal(value, Side::Anywhere, true),
            Operator::IContains => literal(value, Side::Anywhere, false),
            Operator::StartsWith => literal(value, Side::Start, true),
            Operator::EndsWith => literal(value, Side::End, true),
            Operator::Glob => shell(value, true),
            Operator::IGlob => shell(value, false),
            Operator::Regex => Test::Regex(posix::whole(value)?),
            Operator::PMatch => Test::Path(value.to_owned()),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => Test::Order(comparison(self.operator), value.to_owned()),
            _ => literal(value, Side::Whole, true),
        })
    }

    /// The check against another term of the event.
    fn related(&self, right: Term) -> Result<Expr, LowerError> {
        if matches!(self.operator, Operator::PMatch | Operator::Regex) {
            return Err(self.needs("a value that is written in the rule"));
        }
        if self.left.shape() != right.shape() {
            let (left, right) = (self.left.to_string(), right.to_string());
            return Err(self.blame(LowerFault::Types { left, right }));
        }
        Ok(Expr::Related { left: self.left.clone(), operator: self.operator, right })
    }
}

/// Where in a value a literal stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Whole,
    Start,
    End,
    Anywhere,
}

fn literal(text: &str, side: Side, cased: bool) -> Test {
    let many = |yes: bool| yes.then_some(Piece::Many);
    let before = many(matches!(side, Side::End | Side::Anywhere));
    let after = many(matches!(side, Side::Start | Side::Anywhere));
    let pattern = before.into_iter().chain(text.chars().map(Piece::Char)).chain(after).collect();
    Test::Text { pattern, cased }
}

/// A shell pattern; without brackets it is a pattern like Sigma's, which is faster.
fn shell(pattern: &str, cased: bool) -> Test {
    let pieces: Option<Vec<Piece>> = glob::steps(pattern)
        .into_iter()
        .map(|step| match step {
            Step::Char(c) => Some(Piece::Char(c)),
            Step::One => Some(Piece::One),
            Step::Many => Some(Piece::Many),
            Step::Set { .. } => None,
        })
        .collect();
    match pieces {
        Some(pattern) => Test::Text { pattern, cased },
        None => Test::Glob { pattern: pattern.to_owned(), cased },
    }
}

fn comparison(operator: Operator) -> Comparison {
    match operator {
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
        _ => Comparison::Equal,
    }
}

impl Operator {
    /// The operator as rules write it.
    pub(in crate::rules) fn word(self) -> &'static str {
        operator_word(self)
    }
}
