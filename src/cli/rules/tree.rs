//! A rule's conditions -> an indented tree, with or without what an event says to each.
//!
//! Words of rules and events are shown, never obeyed: see [`plain`].

use std::io::{self, Write};

use crate::alert::plain;
use crate::rules::{Condition, Kind, Outline, Weighed};

/// Characters of what one condition asks that are shown.
const ASKS_CHARS_MAX: usize = 400;

/// Characters of one value of an event that are shown.
const VALUE_CHARS_MAX: usize = 120;

/// How a verdict is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// For eyes: ✓ and ✗.
    Signs,
    /// For a pipe: `true` and `false`.
    Words,
}

impl Marks {
    /// Signs on a terminal, words elsewhere.
    pub(super) fn fitting(terminal: bool) -> Marks {
        if terminal { Marks::Signs } else { Marks::Words }
    }

    fn of(self, holds: bool) -> &'static str {
        match (self, holds) {
            (Marks::Signs, true) => "✓",
            (Marks::Signs, false) => "✗",
            (Marks::Words, true) => "true ",
            (Marks::Words, false) => "false",
        }
    }
}

/// Writes what a rule asks.
pub(super) fn outline(out: &mut dyn Write, outline: &Outline, depth: usize) -> io::Result<()> {
    writeln!(out, "{}{}", "  ".repeat(depth), sentence(&outline.condition))?;
    outline.parts.iter().try_for_each(|it| self::outline(out, it, depth + 1))
}

/// Writes what a rule asks and what the event says to it.
pub(super) fn weighed(
    out: &mut dyn Write,
    weighed: &Weighed,
    marks: Marks,
    depth: usize,
) -> io::Result<()> {
    let (indent, mark) = ("  ".repeat(depth), marks.of(weighed.holds));
    writeln!(out, "{mark} {indent}{}{}", sentence(&weighed.condition), here(weighed))?;
    for part in &weighed.parts {
        self::weighed(out, part, marks, depth + 1)?;
    }
    if weighed.condition.kind == Kind::Members && weighed.parts.is_empty() {
        writeln!(out, "{} {indent}  (no member)", " ".repeat(mark.chars().count()))?;
    }
    if weighed.condition.kind == Kind::Members && weighed.untold > 0 {
        let blank = " ".repeat(mark.chars().count());
        writeln!(out, "{blank} {indent}  and {} more members", weighed.untold)?;
    }
    Ok(())
}

fn sentence(condition: &Condition) -> String {
    let asks = plain::text_of(&condition.asks, ASKS_CHARS_MAX);
    match (&condition.field, condition.kind) {
        (Some(field), _) => format!("{} {asks}", plain::field(field)),
        (None, Kind::Field) => format!("it {asks}"),
        (None, _) => asks,
    }
}

/// What the event holds in the field.
fn here(weighed: &Weighed) -> String {
    let Some(found) = &weighed.found else {
        return String::new();
    };
    let more = match weighed.untold {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let there = weighed.compared.as_deref().map(|it| format!("; there: {}", values(it)));
    format!("   [here: {}{more}{}]", values(found), there.unwrap_or_default())
}

fn values(found: &[String]) -> String {
    if found.is_empty() {
        return "missing".to_owned();
    }
    let shown: Vec<String> = found.iter().map(|it| plain::text_of(it, VALUE_CHARS_MAX)).collect();
    shown.join(", ")
}
