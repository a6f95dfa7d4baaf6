//! Shell patterns as `fnmatch(3)` reads them without flags: `*`, `?`, `[a-z]`, and a
//! backslash before a character that means itself. A slash is a character like any other.

use crate::rules::wildcard;

/// A pattern, ready to be held against text.
#[derive(Debug, Clone)]
pub(in crate::rules) struct Glob {
    steps: Box<[Step]>,
    cased: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Char(char),
    One,
    Many,
    Set { negated: bool, members: Box<[Member]> },
}

#[derive(Debug, Clone)]
pub(super) enum Member {
    Range(char, char),
    Class(Class),
}

/// POSIX's character classes, `[:alpha:]` and so on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    name: &'static str,
    holds: fn(&char) -> bool,
}

const CLASSES: [Class; 12] = [
    Class { name: "alnum", holds: char::is_ascii_alphanumeric },
    Class { name: "alpha", holds: char::is_ascii_alphabetic },
    Class { name: "blank", holds: |c| matches!(c, ' ' | '\t') },
    Class { name: "cntrl", holds: char::is_ascii_control },
    Class { name: "digit", holds: char::is_ascii_digit },
    Class { name: "graph", holds: char::is_ascii_graphic },
    Class { name: "lower", holds: char::is_ascii_lowercase },
    Class { name: "print", holds: |c| c.is_ascii_graphic() || *c == ' ' },
    Class { name: "punct", holds: char::is_ascii_punctuation },
    Class { name: "space", holds: |c| c.is_ascii_whitespace() || *c == '\u{b}' },
    Class { name: "upper", holds: char::is_ascii_uppercase },
    Class { name: "xdigit", holds: char::is_ascii_hexdigit },
];

impl Glob {
    pub(in crate::rules) fn new(pattern: &str, cased: bool) -> Glob {
        Glob { steps: steps(pattern).into(), cased }
    }

    /// Whether the whole text fits.
    pub(in crate::rules) fn fits(&self, text: &str) -> bool {
        wildcard::fits(&self.steps, text, self.cased)
    }
}

impl wildcard::Step for Step {
    fn is_many(&self) -> bool {
        matches!(self, Step::Many)
    }

    fn fits(&self, c: char, cased: bool) -> bool {
        let either = |holds: &dyn Fn(char) -> bool| {
            holds(c) || (!cased && (holds(c.to_ascii_lowercase()) || holds(c.to_ascii_uppercase())))
        };
        match self {
            Step::Many => false,
            Step::One => true,
            Step::Char(want) => either(&|c| c == *want),
            Step::Set { negated, members } => {
                let within = either(&|c| members.iter().any(|it| it.holds(c)));
                within != *negated
            }
        }
    }
}

impl Member {
    fn holds(&self, c: char) -> bool {
        match self {
            Member::Range(first, last) => (*first..=*last).contains(&c),
            Member::Class(class) => (class.holds)(&c),
        }
    }
}

/// The steps of a pattern. A bracket that is never closed is a character.
pub(super) fn steps(pattern: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        steps.push(match c {
            '*' => Step::Many,
            '?' => Step::One,
            '\\' => Step::Char(chars.next().unwrap_or('\\')),
            '[' => match set(chars.as_str()) {
                Some((step, rest)) => {
                    chars = rest.chars();
                    step
                }
                None => Step::Char('['),
            },
            other => Step::Char(other),
        });
    }
    steps
}

/// The set whose opening bracket was taken, and what follows it.
fn set(text: &str) -> Option<(Step, &str)> {
    let inner = text.strip_prefix(['!', '^']);
    let (negated, mut rest) = (inner.is_some(), inner.unwrap_or(text));
    let mut members = Vec::new();
    // A closing bracket in the first place is a member.
    while members.is_empty() || !rest.starts_with(']') {
        if let Some((class, after)) = class(rest) {
            members.push(Member::Class(class));
            rest = after;
            continue;
        }
        let (first, after) = member(rest)?;
        let ranged = after.strip_prefix('-').filter(|it| !it.starts_with(']'));
        match ranged.and_then(member) {
            Some((last, after)) => {
                members.push(Member::Range(first, last));
                rest = after;
            }
            None => {
                members.push(Member::Range(first, first));
                rest = after;
            }
        }
    }
    Some((Step::Set { negated, members: members.into() }, rest.strip_prefix(']')?))
}

fn member(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let c = if first == '\\' { chars.next()? } else { first };
    Some((c, chars.as_str()))
}

fn class(text: &str) -> Option<(Class, &str)> {
    let (name, rest) = text.strip_prefix("[:")?.split_once(":]")?;
    let class = CLASSES.iter().find(|it| it.name == name)?;
    Some((*class, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, true).fits(text)
    }

    #[test]
    fn patterns_are_fnmatchs() {
        for (pattern, yes, no) in [
            ("/etc/*", "/etc/a/b", "/etc"),
            ("a?c", "a/c", "ac"),
            ("di[r]", "dir", "dit"),
            ("di[!r]", "dit", "dir"),
            ("[^a-c]x", "dx", "bx"),
            ("[]x]", "]", "y"),
            ("[a-]", "-", "b"),
            ("[[:digit:]_]*", "7up", "up"),
            (r"\*x", "*x", "ax"),
            (r"[\]]", "]", r"\"),
            ("[ab", "[ab", "a"),
            ("", "", "x"),
        ] {
            assert!(fits(pattern, yes), "{pattern} {yes}");
            assert!(!fits(pattern, no), "{pattern} {no}");
        }
        assert!(Glob::new("[a-c]X*", false).fits("BxY") && !fits("[a-c]X*", "BxY"));
        assert!(Glob::new("Ab", false).fits("aB"));
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!fits(&"*a".repeat(50), &"a".repeat(40)));
        assert!(!fits("*a*a*a*a*a*a*b", &"a".repeat(20_000)));
    }
}
