//! Tests of which a value must pass one. Lists of names, pieces of image names and networks are long,
//! and those of a kind are judged together: a table finds whole texts, one pass over the value finds
//! texts within it, and an address is read once for all networks.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use super::ir::Place;
use super::literals::Literals;
use super::matcher::{Cidr, Matcher};
use super::table::Table;
use super::value::Leaf;

/// Fewer texts of a kind are compared one by one.
const TEXTS_MIN: usize = 4;

/// The tests. It is also the list of them, as they were written.
#[derive(Clone)]
pub(super) struct Alternatives {
    each: Box<[Matcher]>,
    /// None where nothing is gained by it.
    together: Option<Box<Together>>,
}

/// The tests by kind.
#[derive(Clone)]
struct Together {
    wholes: Table,
    parts: Option<Literals>,
    networks: Vec<Cidr>,
    others: Vec<Matcher>,
}

impl Alternatives {
    pub(super) fn new(tests: Vec<Matcher>) -> Alternatives {
        let together = Together::new(&tests).map(Box::new);
        Alternatives { each: tests.into(), together }
    }

    /// Whether the value passes any of the tests.
    pub(super) fn any(&self, leaf: &Leaf<'_>) -> bool {
        match &self.together {
            None => self.each.iter().any(|it| it.fits(leaf)),
            Some(tests) => tests.any(leaf),
        }
    }

    /// What judging a value costs, in nanoseconds, roughly.
    pub(super) fn cost(&self) -> u32 {
        let sum = |tests: &[Matcher]| tests.iter().map(Matcher::cost).fold(0, u32::saturating_add);
        match &self.together {
            None => sum(&self.each),
            Some(tests) => {
                let kinds = [
                    (!tests.wholes.is_empty(), 10),
                    (tests.parts.is_some(), 200),
                    (!tests.networks.is_empty(), 50),
                ];
                let together: u32 = kinds.iter().filter(|it| it.0).map(|it| it.1).sum();
                sum(&tests.others).saturating_add(together)
            }
        }
    }
}

impl Deref for Alternatives {
    type Target = [Matcher];

    fn deref(&self) -> &[Matcher] {
        &self.each
    }
}

/// The tests as they were written, which say everything.
impl fmt::Debug for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Together {
    /// `None`: no two tests are of a kind that pays.
    fn new(tests: &[Matcher]) -> Option<Together> {
        let (mut wholes, mut parts, mut networks) = (Vec::new(), Vec::new(), Vec::new());
        let mut others = Vec::new();
        for test in tests {
            match test {
                Matcher::Cidr(network) => networks.push(network.clone()),
                Matcher::Text(pattern) => match pattern.plain() {
                    Some((Place::Whole, text)) => wholes.push((text, test)),
                    Some((place, text)) if !text.is_empty() => parts.push((place, text, test)),
                    _ => others.push(test.clone()),
                },
                _ => others.push(test.clone()),
            }
        }
        if wholes.len() < TEXTS_MIN {
            others.extend(wholes.drain(..).map(|it| it.1.clone()));
        }
        if parts.len() < TEXTS_MIN {
            others.extend(parts.drain(..).map(|it| it.2.clone()));
        }
        let numbered = |(place, text, _): &(Place, &str, &Matcher)| (*place, (*text).to_owned(), 0);
        let all = || Literals::new(parts.iter().map(numbered).collect()).ok();
        let found = if parts.is_empty() { None } else { all() };
        if found.is_none() {
            // There are none, or more than an automaton can hold.
            others.extend(parts.iter().map(|it| it.2.clone()));
        }
        let wholes = Table::new(wholes.iter().map(|it| (it.0.into(), 0)).collect());
        let together = Together { wholes, parts: found, networks, others };
        (together.others.len() + 1 < tests.len()).then_some(together)
    }

    fn any(&self, leaf: &Leaf<'_>) -> bool {
        let any = |text: &str| {
            self.wholes.find(text).is_some()
                || self.parts.as_ref().is_some_and(|it| it.any(text))
                || self.within(text)
        };
        leaf.text().is_some_and(any) || self.others.iter().any(|it| it.fits(leaf))
    }

    /// Whether the text is an address in one of the networks.
    fn within(&self, text: &str) -> bool {
        let address = || text.parse::<IpAddr>().ok();
        !self.networks.is_empty()
            && address().is_some_and(|it| self.networks.iter().any(|network| network.holds(it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ir::{Piece, Test};
    use proptest::prelude::*;

    fn matcher(test: &str) -> Matcher {
        let test = match test.strip_prefix("net:") {
            Some(network) => Test::Cidr(network.to_owned()),
            None => {
                let piece = |c| if c == '*' { Piece::Many } else { Piece::Char(c) };
                let pattern = test.trim_start_matches('=').chars().map(piece).collect();
                Test::Text { pattern, cased: test.starts_with('=') }
            }
        };
        Matcher::new(&test).unwrap()
    }

    const TESTS: [&str; 22] = [
        "ab",
        "abc",
        "B",
        "",
        "kelvin",
        "größe",
        "a*",
        "*b",
        "*bc*",
        "*É*",
        "a*b",
        "*",
        "=Ab",
        "=*B*",
        "net:10.0.0.0/8",
        "net:fd00::/8",
        "net:10.1.0.0/16",
        "*0.1*",
        "true",
        "7",
        "*kit*",
        "xyz",
    ];

    const VALUES: [&str; 16] = [
        "ab",
        "AB",
        "abc",
        "xbcx",
        "b",
        "",
        "\u{212a}elvin",
        "GRÖßE",
        "é",
        "É",
        "\u{212a}it",
        "10.1.2.3",
        "11.0.0.1",
        "fd00::1",
        "ba",
        "zz",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn together_they_say_what_each_says(tests in prop::sample::subsequence(&TESTS, 0..=TESTS.len())) {
            let tests = Alternatives::new(tests.into_iter().map(matcher).collect());
            let leaves = [Leaf::Null, Leaf::Object, Leaf::Bool(true), Leaf::Number(7.0, "7")];
            for leaf in VALUES.map(Leaf::Text).iter().chain(&leaves) {
                let each = tests.iter().any(|it| it.fits(leaf));
                prop_assert_eq!(tests.any(leaf), each, "{:?}", leaf);
            }
        }
    }
}
