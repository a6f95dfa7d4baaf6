//! A rule and an event -> why the one matches the other, or does not, condition by condition.
//!
//! Every part of the rule is compiled by itself and judged by the very code that judges
//! events, so what is told here cannot differ from what the rule set finds.

use serde::Serialize;

use super::access::{Access, Scope};
use super::compile::{Names, access, array, compile_at};
use super::falco::Term;
use super::ir::{Expr, Item, Mode, Test};
use super::outline::{Condition, Kind, bare};
use super::scratch::{Context, Scratch};
use super::set::{RuleIndex, RuleSet};
use super::tree::Tree;
use super::value::View;
use crate::event::Event;

/// Values of one field, and members of one array, that are told; the others are counted.
const TOLD_MAX: usize = 20;

/// A rule laid beside an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the rule set finds the rule in the event: `reached`, and the condition holds.
    pub matches: bool,
    /// Whether the index lets the event reach the rule. It never keeps one back that matches.
    pub reached: bool,
    /// The rule's condition.
    pub condition: Weighed,
}

/// A condition laid beside an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weighed {
    /// Whether it holds.
    pub holds: bool,
    /// What is asked.
    #[serde(flatten)]
    pub condition: Condition,
    /// What the event holds in the field, as JSON; empty: the field is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Vec<String>>,
    /// What it holds in the field that is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Vec<String>>,
    /// Values, or members of the array, that are not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub untold: usize,
    /// What it is made of. Of values joined by "or", only those that fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Weighed>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Lays a rule beside an event.
///
/// # Panics
///
/// When the index came from another, larger set: only a bug does that.
pub fn explain(rules: &RuleSet, index: RuleIndex, event: &Event<'_>) -> Explanation {
    let scratch = Scratch::default();
    let context = Context::new(event, &scratch);
    let reached = rules.reaches(index, &context);
    let condition = weighed(rules.expr(index), Here::of(&context));
    Explanation { matches: reached && condition.holds, reached, condition }
}

impl Weighed {
    /// Only what decided: of an "and" that fails the parts that fail, of an "or" that holds
    /// those that hold.
    pub fn decisive(mut self) -> Weighed {
        match (self.condition.kind, self.holds) {
            (Kind::All, false) => self.parts.retain(|it| !it.holds),
            (Kind::Any, true) => self.parts.retain(|it| it.holds),
            _ => {}
        }
        self.parts = self.parts.into_iter().map(Weighed::decisive).collect();
        self
    }
}

/// A place in a rule beside a place in an event.
#[derive(Clone, Copy)]
struct Here<'h, 'e> {
    names: Names,
    scope: Scope<'h, 'e>,
}

impl<'h, 'e> Here<'h, 'e> {
    fn of(context: &'h Context<'h, 'e>) -> Here<'h, 'e> {
        Here { names: Names::Event, scope: Scope { context, member: None } }
    }

    /// Whether the expression holds here. One that does not compile is part of no loaded rule.
    fn holds(self, expr: &Expr) -> bool {
        compile_at(expr, self.names).is_ok_and(|it| it.holds(self.scope))
    }

    /// What the event holds in a field: the first values as JSON, and how many more.
    fn values(self, field: Option<&str>) -> (Vec<String>, usize) {
        access(field, self.names).map_or_else(|_| Default::default(), |it| self.at(&it))
    }

    /// The same of a term.
    fn term(self, term: &Term) -> (Vec<String>, usize) {
        self.at(&Access::Computed(Box::new(term.clone())))
    }

    fn at(self, access: &Access) -> (Vec<String>, usize) {
        let (mut found, mut untold) = (Vec::new(), 0);
        access.visit(self.scope, &mut |view| {
            if found.len() < TOLD_MAX {
                found.push(json(view))
            } else {
                untold += 1
            }
            false
        });
        (found, untold)
    }
}

fn json(view: View<'_>) -> String {
    match view {
        View::Raw(json) => json.to_owned(),
        View::Tree(value) => value.json().to_owned(),
        View::Text(text) => serde_json::Value::from(text).to_string(),
    }
}

fn weighed(expr: &Expr, here: Here<'_, '_>) -> Weighed {
    let expr = bare(expr);
    let mut weighed = Weighed {
        holds: here.holds(expr),
        condition: Condition::of(expr, here.names),
        found: None,
        compared: None,
        untold: 0,
        parts: Vec::new(),
    };
    match expr {
        Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
            weighed.parts = parts.iter().map(|it| self::weighed(it, here)).collect();
        }
        Expr::Not(part) => weighed.parts = vec![self::weighed(part, here)],
        Expr::Item(item) => {
            let (found, untold) = here.values(item.field.as_deref());
            (weighed.found, weighed.untold) = (Some(found), untold);
            weighed.compared = compared(item, here);
            weighed.parts = singly(&item.tests, item.mode, here, &|it| Expr::Item(alone(item, it)));
        }
        Expr::Keywords(item) => {
            let one = |it| Expr::Keywords(alone(item, it));
            weighed.parts = singly(&item.tests, item.mode, here, &one);
        }
        Expr::Computed { term, tests, mode } => {
            let (found, untold) = here.term(term);
            (weighed.found, weighed.untold) = (Some(found), untold);
            let one = |it| Expr::Computed { term: term.clone(), tests: vec![it], mode: Mode::Any };
            weighed.parts = singly(tests, *mode, here, &one);
        }
        Expr::Related { left, right, .. } => {
            let (found, untold) = here.term(left);
            (weighed.found, weighed.untold) = (Some(found), untold);
            weighed.compared = Some(here.term(right).0);
        }
        Expr::Members { field, body, .. } => members(field, body, here, &mut weighed),
    }
    weighed
}

/// The field on the other side of a comparison of two.
fn compared(item: &Item, here: Here<'_, '_>) -> Option<Vec<String>> {
    item.tests.iter().find_map(|test| match test {
        Test::SameAs { field, .. } => Some(here.values(Some(field)).0),
        _ => None,
    })
}

/// The item with one test alone.
fn alone(item: &Item, test: Test) -> Item {
    Item { field: item.field.clone(), tests: vec![test], mode: Mode::Any }
}

/// The tests of a field one by one, where there are several and it matters which.
fn singly(
    tests: &[Test],
    mode: Mode,
    here: Here<'_, '_>,
    one: &dyn Fn(Test) -> Expr,
) -> Vec<Weighed> {
    if tests.len() < 2 {
        return Vec::new();
    }
    let alone = tests.iter().map(|test| {
        let expr = one(test.clone());
        Weighed {
            holds: here.holds(&expr),
            condition: Condition::of(&expr, here.names),
            found: None,
            compared: None,
            untold: 0,
            parts: Vec::new(),
        }
    });
    alone.filter(|it| mode == Mode::All || it.holds).collect()
}

/// The members of an array one by one.
fn members(field: &str, body: &Expr, here: Here<'_, '_>, weighed: &mut Weighed) {
    let Ok(access) = array(field, here.names) else {
        return;
    };
    access.visit(here.scope, &mut |view| {
        let View::Tree(value) = view else {
            return false;
        };
        if value.is_array() {
            value.members().for_each(|it| member(it, body, here, weighed));
        } else if !value.is_null() {
            // A lone value is a list of one, as it is for the matcher.
            member(value, body, here, weighed);
        }
        false
    });
}

fn member(member: Tree<'_>, body: &Expr, here: Here<'_, '_>, weighed: &mut Weighed) {
    if weighed.parts.len() == TOLD_MAX {
        weighed.untold += 1;
        return;
    }
    let scope = Scope { member: Some(member), ..here.scope };
    let part = self::weighed(body, Here { names: Names::Member, scope });
    weighed.parts.push(Weighed {
        holds: part.holds,
        condition: Condition::plain(Kind::Member, format!("member {}", weighed.parts.len())),
        found: None,
        compared: None,
        untold: 0,
        parts: vec![part],
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::event;
    use crate::rules::{LoadOptions, load_text};

    fn explained(sel: &str, line: &str) -> Explanation {
        let sel = sel.replace('\n', "\n    ");
        let text = format!(
            "title: T\nsigma-version: 3\ndetection:\n  sel:\n    {sel}\n  condition: sel\n"
        );
        let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
        let rules = rules.unwrap_or_else(|error| panic!("{sel}: {error}")).rules;
        explain(&rules, RuleIndex::new(0), &event(line))
    }

    #[test]
    fn each_condition_stands_beside_what_the_event_holds() {
        let line = r#"{"a":["x","y"],"n":5,"c":[{"p":"TCP"},{"p":"UDP"}]}"#;
        for (sel, holds, found) in [
            ("a: x", true, Some(&[r#"["x","y"]"#][..])),
            ("n|gte: 6", false, Some(&["5"])),
            ("m: x", false, Some(&[])),
            ("c.p: udp", true, Some(&[r#""TCP""#, r#""UDP""#])),
            ("c[all]:\n  p: udp", false, None),
        ] {
            let explained = explained(sel, line).condition;
            let told = explained.found.as_ref();
            let told = told.map(|it| it.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((explained.holds, told.as_deref()), (holds, found), "{sel}");
        }
    }

    #[test]
    fn members_and_values_are_told_one_by_one_up_to_a_limit() {
        let line = format!(r#"{{"c":[{}{{"p":"UDP"}}]}}"#, r#"{"p":"TCP"},"#.repeat(TOLD_MAX));
        let members = explained("c[any]:\n  p: udp", &line).condition;
        assert!(members.holds, "the member that is not told counts");
        assert_eq!((members.parts.len(), members.untold), (TOLD_MAX, 1));
        assert_eq!(members.parts[1].condition.asks, "member 1");
        let values = explained("c.p: udp", &line).condition;
        assert_eq!((values.found.unwrap().len(), values.untold), (TOLD_MAX, 1));
    }

    #[test]
    fn of_alternatives_those_that_fit_are_told_and_of_demands_all() {
        let asks = |sel: &str| {
            let parts = explained(sel, r#"{"a":"xy","b":"XY"}"#).condition.parts;
            parts.iter().map(|it| format!("{} {}", it.condition.asks, it.holds)).collect::<Vec<_>>()
        };
        assert_eq!(asks("a: [xy, z]"), ["is \"xy\" true"]);
        assert_eq!(asks("a|contains|all: [x, z]"), ["contains \"x\" true", "contains \"z\" false"]);
        let same = explained("a|fieldref: b", r#"{"a":"xy","b":"XY"}"#).condition;
        assert_eq!((same.holds, same.compared.unwrap()), (true, vec!["\"XY\"".to_owned()]));
    }

    #[test]
    fn only_what_decided_is_kept() {
        let weighed = explained("a: x\nb: z\nc: z", r#"{"a":"x"}"#).condition;
        assert_eq!(weighed.parts.len(), 3);
        let decisive = weighed.decisive();
        let names: Vec<&str> =
            decisive.parts.iter().filter_map(|it| it.condition.field.as_deref()).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn what_the_index_passes_over_is_said() {
        let audit = r#"{"auditID":"a","stage":"Panic"}"#;
        let explained = explained("verb: get", audit);
        assert!(!explained.reached && !explained.matches && !explained.condition.holds);
    }
}
