//! Turns the intermediate form of a rule into what judges events.

use super::access::{Access, NameError, Scope};
use super::alternatives::Alternatives;
use super::falco::{self, Operator, Shape, Term};
use super::ir::{Expr, Item, Mode, Place, Quantifier, Test};
use super::matcher::{Matcher, MatcherError};
use super::memo::Numbers;
use super::path::Path;
use super::scratch::Root;
use super::shared::Shared;
use super::text;
use super::value::{Leaf, View, any_leaf_within};
use crate::event::Field;

/// A rule with more values than this is refused: it belongs in a table, not in a rule.
pub(super) const VALUES_MAX: usize = 20_000;

/// A rule with more regular expressions than this is refused.
pub(super) const REGEXES_MAX: usize = 500;

/// Why a rule cannot be compiled, and the word in its text that is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct CompileError {
    pub(super) near: String,
    #[source]
    pub(super) why: CompileFault,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CompileFault {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    #[error(
        "more than {VALUES_MAX} values in one rule, counted as often as the condition uses them"
    )]
    Values,
    #[error("more than {REGEXES_MAX} regular expressions in one rule")]
    Regexes,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    AtLeast(usize, Box<[Node]>),
    Not(Box<Node>),
    Values {
        access: Access,
        tests: Alternatives,
        mode: Mode,
    },
    /// Missing or `null`.
    Null(Access),
    /// There, whatever it is.
    Exists(Access),
    Same {
        access: Access,
        other: Access,
        place: Place,
        cased: bool,
    },
    /// Two terms of a Falco condition, of this shape both.
    Related {
        left: Box<Term>,
        operator: Operator,
        right: Box<Term>,
        shape: Shape,
    },
    Keywords {
        tests: Alternatives,
        mode: Mode,
    },
    Members {
        access: Access,
        quantifier: Quantifier,
        body: Box<Node>,
    },
    /// A part that stands in several places of a rule set: judged once per event.
    Shared(Shared),
}

/// Compiles a rule's expression.
pub(super) fn compile(expr: &Expr) -> Result<Node, CompileError> {
    compile_at(expr, Names::Event)
}

/// Compiles a part of a rule's expression that stands at that place.
pub(super) fn compile_at(expr: &Expr, place: Names) -> Result<Node, CompileError> {
    Compiler::default().node(expr, place)
}

/// Where names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Event,
    Member,
}

#[derive(Default)]
struct Compiler {
    values: usize,
    regexes: usize,
}

impl Compiler {
    fn node(&mut self, expr: &Expr, place: Names) -> Result<Node, CompileError> {
        Ok(match expr {
            Expr::All(parts) => all(self.nodes(parts, place)?),
            Expr::Any(parts) => Node::Any(self.nodes(parts, place)?.into()),
            Expr::AtLeast(count, parts) => Node::AtLeast(*count, self.nodes(parts, place)?.into()),
            Expr::Not(part) => Node::Not(Box::new(self.node(part, place)?)),
            Expr::Item(item) => {
                self.tested(access(item.field.as_deref(), place)?, &Tested::of(item), place)?
            }
            Expr::Keywords(item) => {
                let tests = self.matchers(&Tested::of(item), &item.tests)?;
                Node::Keywords { tests, mode: item.mode }
            }
            Expr::Computed { term, tests, mode } => {
                let tested = Tested { near: term.to_string(), tests, mode: *mode };
                self.tested(Access::Computed(Box::new(term.clone())), &tested, place)?
            }
            Expr::Related { left, operator, right } => Node::Related {
                shape: left.shape(),
                left: Box::new(left.clone()),
                operator: *operator,
                right: Box::new(right.clone()),
            },
            Expr::Members { field, quantifier, body } => {
                let access = array(field, place)?;
                let body = Box::new(self.node(body, Names::Member)?);
                Node::Members { access, quantifier: *quantifier, body }
            }
        })
    }

    fn nodes(&mut self, parts: &[Expr], place: Names) -> Result<Vec<Node>, CompileError> {
        parts.iter().map(|it| self.node(it, place)).collect()
    }

    fn tested(
        &mut self,
        access: Access,
        item: &Tested<'_>,
        place: Names,
    ) -> Result<Node, CompileError> {
        let mut nodes = Vec::new();
        let mut plain = Vec::new();
        for test in item.tests {
            match test {
                Test::Null => nodes.push(Node::Null(access.clone())),
                Test::Exists(true) => nodes.push(Node::Exists(access.clone())),
                Test::Exists(false) => nodes.push(not(Node::Exists(access.clone()))),
                Test::SameAs { field, place: at, cased } => nodes.push(Node::Same {
                    access: access.clone(),
                    other: self::access(Some(field), place)?,
                    place: *at,
                    cased: *cased,
                }),
                other => plain.push(other.clone()),
            }
        }
        if !plain.is_empty() || nodes.is_empty() {
            let tests = self.matchers(item, &plain)?;
            let mode =
                if nodes.is_empty() || item.mode != Mode::None { item.mode } else { Mode::Any };
            let values = Node::Values { access: access.clone(), tests, mode };
            if nodes.is_empty() {
                return Ok(values);
            }
            nodes.push(values);
        }
        Ok(match item.mode {
            Mode::Any => any(nodes),
            Mode::All | Mode::Every => all(nodes),
            // What is missing differs from nothing.
            Mode::None => all(vec![Node::Exists(access), not(any(nodes))]),
        })
    }

    fn matchers(
        &mut self,
        item: &Tested<'_>,
        tests: &[Test],
    ) -> Result<Alternatives, CompileError> {
        let near = item.near.clone();
        self.values += tests.len();
        self.regexes += tests.iter().filter(|it| matches!(it, Test::Regex(_))).count();
        if self.values > VALUES_MAX {
            return Err(CompileError { near, why: CompileFault::Values });
        }
        if self.regexes > REGEXES_MAX {
            return Err(CompileError { near, why: CompileFault::Regexes });
        }
        let matchers: Result<Vec<Matcher>, CompileError> =
            tests.iter().map(|it| Matcher::new(it).map_err(|why| blame(&near, why))).collect();
        matchers.map(Alternatives::new)
    }
}

/// The tests of one field, whatever its access.
struct Tested<'t> {
    near: String,
    tests: &'t [Test],
    mode: Mode,
}

impl Tested<'_> {
    fn of(item: &Item) -> Tested<'_> {
        let near = item.field.clone().unwrap_or_default();
        Tested { near, tests: &item.tests, mode: item.mode }
    }
}

/// The way to a field, or to the array member itself.
pub(super) fn access(field: Option<&str>, place: Names) -> Result<Access, CompileError> {
    match (field, place) {
        (None, _) => Ok(Access::Itself),
        (Some(name), Names::Event) => Access::of(name).map_err(|why| blame(name, why)),
        (Some(name), Names::Member) => Access::of_member(name).map_err(|why| blame(name, why)),
    }
}

/// The way to an array whose members are judged one by one.
pub(super) fn array(field: &str, place: Names) -> Result<Access, CompileError> {
    let access = match place {
        Names::Event => Access::of_array(field),
        Names::Member => Access::of_member(field),
    };
    access.map_err(|why| blame(field, why))
}

fn blame(near: &str, why: impl Into<CompileFault>) -> CompileError {
    CompileError { near: near.to_owned(), why: why.into() }
}

/// Cheap tests first: they spare the parse of a body.
fn all(mut nodes: Vec<Node>) -> Node {
    nodes.sort_by_key(Node::rank);
    Node::All(nodes.into())
}

fn any(mut nodes: Vec<Node>) -> Node {
    if nodes.len() == 1
        && let Some(only) = nodes.pop()
    {
        return only;
    }
    Node::Any(nodes.into())
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

impl Node {
    /// The part itself, where it is one of several places of a shared one.
    pub(super) fn itself(&self) -> &Node {
        if let Node::Shared(shared) = self { shared.node() } else { self }
    }

    /// The parts it is made of; what is asked of an array's members is none.
    pub(super) fn parts(&self) -> &[Node] {
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => parts,
            Node::Not(part) => std::slice::from_ref(&**part),
            _ => &[],
        }
    }

    /// See [`Node::parts`].
    pub(super) fn parts_mut(&mut self) -> &mut [Node] {
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => parts,
            Node::Not(part) => std::slice::from_mut(&mut **part),
            _ => &mut [],
        }
    }

    /// Whether of an audit event these fields alone decide what it says.
    pub(super) fn decided_by(&self, fields: &[Field]) -> bool {
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => {
                !parts.is_empty() && parts.iter().all(|it| it.decided_by(fields))
            }
            Node::Not(part) => part.decided_by(fields),
            Node::Values { access, .. } | Node::Null(access) | Node::Exists(access) => {
                access.decided_by(fields)
            }
            Node::Same { access, other, .. } => {
                access.decided_by(fields) && other.decided_by(fields)
            }
            Node::Shared(shared) => shared.node().decided_by(fields),
            Node::Related { .. } | Node::Keywords { .. } | Node::Members { .. } => false,
        }
    }

    /// See [`Access::number`].
    pub(super) fn number(&mut self, numbers: &mut Numbers) {
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => {
                parts.iter_mut().for_each(|it| it.number(numbers));
            }
            Node::Not(part) => part.number(numbers),
            Node::Values { access, .. } | Node::Null(access) | Node::Exists(access) => {
                access.number(numbers);
            }
            Node::Same { access, other, .. } => {
                access.number(numbers);
                other.number(numbers);
            }
            Node::Members { access, body, .. } => {
                let below = body.below();
                access.number_for(numbers, below.as_deref());
                body.number(numbers);
            }
            Node::Shared(shared) => shared.node_mut().number(numbers),
            Node::Keywords { .. } | Node::Related { .. } => {}
        }
    }

    /// The paths below an array's member that are looked at. `None`: all of it.
    fn below(&self) -> Option<Vec<Path>> {
        let of = |access: &Access| match access {
            Access::Member(path) => Some(vec![path.clone()]),
            Access::Itself => None,
            _ => Some(Vec::new()),
        };
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => {
                let parts: Option<Vec<_>> = parts.iter().map(Node::below).collect();
                parts.map(|it| it.concat())
            }
            Node::Not(part) => part.below(),
            Node::Shared(shared) => shared.node().below(),
            Node::Values { access, .. } | Node::Null(access) | Node::Exists(access) => of(access),
            Node::Same { access, other, .. } => Some([of(access)?, of(other)?].concat()),
            // Members of a member are looked at as a whole: lists in lists are short.
            Node::Members { access, .. } => of(access),
            Node::Related { .. } => Some(Vec::new()),
            Node::Keywords { .. } => None,
        }
    }

    /// What judging an event costs, in nanoseconds, roughly, when nothing is decided early.
    pub(super) fn cost(&self) -> u32 {
        let sum = |costs: &mut dyn Iterator<Item = u32>| costs.fold(0, u32::saturating_add);
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => {
                sum(&mut parts.iter().map(Node::cost))
            }
            Node::Not(part) => part.cost(),
            Node::Values { access, tests, .. } => access.cost().saturating_add(tests.cost()),
            Node::Null(access) | Node::Exists(access) => access.cost(),
            Node::Same { access, other, .. } => access.cost().saturating_add(other.cost()),
            Node::Related { left, right, .. } => {
                if left.is_cheap() && right.is_cheap() {
                    80
                } else {
                    500
                }
            }
            Node::Members { access, body, .. } => access.cost().saturating_add(body.cost()),
            Node::Keywords { .. } => 10_000,
            Node::Shared(shared) => shared.node().cost(),
        }
    }

    /// What is judged first where all must hold. Exceptions come late: hardly any event is one.
    pub(super) fn rank(&self) -> u32 {
        let sum = |parts: &[Node]| parts.iter().map(Node::rank).fold(0, u32::saturating_add);
        match self {
            Node::All(parts) | Node::Any(parts) | Node::AtLeast(_, parts) => sum(parts),
            Node::Not(part) => part.rank().saturating_mul(2).saturating_add(50),
            Node::Shared(shared) => shared.cost(),
            _ => self.cost(),
        }
    }

    /// Whether the event, or the array member in `scope`, satisfies the expression.
    pub(super) fn holds(&self, scope: Scope<'_, '_>) -> bool {
        match self {
            Node::All(parts) => parts.iter().all(|it| it.holds(scope)),
            Node::Any(parts) => parts.iter().any(|it| it.holds(scope)),
            Node::AtLeast(count, parts) => {
                *count == 0 || parts.iter().filter(|it| it.holds(scope)).nth(*count - 1).is_some()
            }
            Node::Not(part) => !part.holds(scope),
            Node::Values { access, tests, mode } => values(access, tests, *mode, scope),
            Node::Null(access) => {
                let mut missing = true;
                let null = access.visit(scope, &mut |view| {
                    missing = false;
                    view.is_null()
                });
                missing || null
            }
            Node::Exists(access) => access.visit(scope, &mut |_| true),
            Node::Same { access, other, place, cased } => access.visit(scope, &mut |left| {
                other.visit(scope, &mut |right| same(&left, &right, *place, *cased))
            }),
            Node::Related { left, operator, right, shape } => {
                let context = scope.context;
                falco::holds(*operator, *shape, &left.values(context), &right.values(context))
            }
            Node::Keywords { tests, mode } => keywords(tests, *mode, scope),
            Node::Members { access, quantifier, body } => members(access, *quantifier, body, scope),
            Node::Shared(shared) => shared.holds(scope),
        }
    }
}

fn values(access: &Access, tests: &Alternatives, mode: Mode, scope: Scope<'_, '_>) -> bool {
    let passes = |test: &Matcher| {
        access.visit(scope, &mut |view| view.any_leaf(&mut |leaf| test.fits(leaf)))
    };
    match mode {
        Mode::All => tests.iter().all(passes),
        Mode::Any => access.visit(scope, &mut |view| view.any_leaf(&mut |leaf| tests.any(leaf))),
        Mode::None => {
            let mut present = false;
            let fits = access.visit(scope, &mut |view| {
                present = true;
                view.any_leaf(&mut |leaf| tests.any(leaf))
            });
            present && !fits
        }
        Mode::Every => {
            let mut present = false;
            let odd = access.visit(scope, &mut |view| {
                present = true;
                !view.any_leaf(&mut |leaf| tests.any(leaf))
            });
            present && !odd
        }
    }
}

fn keywords(tests: &Alternatives, mode: Mode, scope: Scope<'_, '_>) -> bool {
    let whole = match scope.member {
        Some(member) => Some(member),
        None => scope.context.tree(Root::Line),
    };
    let Some(whole) = whole else {
        return false;
    };
    match mode {
        Mode::Any | Mode::Every => any_leaf_within(&whole, &mut |leaf| tests.any(leaf)),
        Mode::All => tests.iter().all(|test| any_leaf_within(&whole, &mut |leaf| test.fits(leaf))),
        Mode::None => !any_leaf_within(&whole, &mut |leaf| tests.any(leaf)),
    }
}

fn members(access: &Access, quantifier: Quantifier, body: &Node, scope: Scope<'_, '_>) -> bool {
    let mut empty = true;
    // `true` ends the search: a member that decides the question was found.
    let decided = access.visit(scope, &mut |view| {
        let View::Tree(value) = view else {
            return false;
        };
        if value.is_null() {
            return false;
        }
        // A lone value is a list of one, as it is everywhere in Sigma.
        let mut decides = |member| {
            empty = false;
            let holds = body.holds(Scope { member: Some(member), ..scope });
            holds == matches!(quantifier, Quantifier::Any | Quantifier::None)
        };
        if value.is_array() { value.members().any(decides) } else { decides(value) }
    });
    match quantifier {
        Quantifier::Any => decided,
        Quantifier::None | Quantifier::AllOrEmpty => !decided,
        Quantifier::All => !decided && !empty,
    }
}

/// Compares two fields: as numbers when both are, else as text.
fn same(left: &View<'_>, right: &View<'_>, place: Place, cased: bool) -> bool {
    left.any_leaf(&mut |left| right.any_leaf(&mut |right| same_leaf(left, right, place, cased)))
}

fn same_leaf(left: &Leaf<'_>, right: &Leaf<'_>, place: Place, cased: bool) -> bool {
    if let (Leaf::Number(left, _), Leaf::Number(right, _), Place::Whole) = (left, right, place) {
        return left == right;
    }
    match (left.text(), right.text()) {
        (Some(left), Some(right)) if cased => text::literally(place, left, right, true),
        (Some(left), Some(right)) => {
            text::literally(place, &text::lower(left), &text::lower(right), false)
        }
        _ => false,
    }
}
