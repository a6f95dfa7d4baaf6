//! Puts lists and macros in: the text of a condition in, a tree without names out.
//!
//! Lists are put into the text, as Falco does it, so that a list's name may stand where
//! values may; unlike Falco, names in quoted strings are left alone, and lists in lists
//! are followed all the way down. Macros are put into the tree.
//!
//! **Invariant:** work and memory are bounded before they are spent. Twenty macros that
//! each name the one before twice would otherwise make a million copies of the first.

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{Condition, Right, Term};
use super::condition::{self, DEPTH_MAX};
use super::exception::item;
use super::fault::FalcoFault;

/// Items of a list with those of the lists in it. Falco counts them in sixteen bits.
pub(in crate::rules) const LIST_ITEMS_MAX: usize = 65_535;

/// One condition with everything in.
pub(in crate::rules) const CONDITION_BYTES_MAX: usize = 1 << 20;

/// All conditions of all files together with everything in: what a tree costs in memory
/// is several times this.
pub(in crate::rules) const CONDITIONS_BYTES_MAX: usize = 64 << 20;

/// The lists and macros of all files, as far as they are good.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) lists: BTreeMap<String, Vec<String>>,
    pub(super) macros: BTreeMap<String, Macro>,
    /// Lists with an error of their own: what uses them would be weaker without.
    pub(super) broken_lists: BTreeSet<String>,
    pub(super) broken_macros: BTreeSet<String>,
    pub(super) used_lists: BTreeSet<String>,
    pub(super) used_macros: BTreeSet<String>,
    spent: usize,
}

/// A macro that was read. Its own macros are put in when a rule uses it.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) condition: Condition,
    /// When it was first defined.
    pub(super) index: usize,
    /// When it was last touched; it sees the macros first defined before that.
    pub(super) visibility: usize,
    /// Length and depth with everything in, once `measure` has been there.
    size: Option<Size>,
}

impl Macro {
    pub(super) fn new(condition: Condition, index: usize, visibility: usize) -> Macro {
        Macro { condition, index, visibility, size: None }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl Names {
    /// Reads a condition after its lists were put in.
    pub(super) fn read(&mut self, text: &str) -> Result<Condition, FalcoFault> {
        let text = self.with_lists(text)?;
        self.spend(text.len())?;
        condition::parse(&text).map_err(FalcoFault::Condition)
    }

    /// Makes sure that a macro can be put in.
    pub(super) fn check_macro(&mut self, name: &str) -> Result<(), FalcoFault> {
        self.measure_macro(name, &mut Vec::new()).map(drop)
    }

    /// A rule's condition with its macros put in.
    pub(super) fn with_macros(&mut self, condition: &Condition) -> Result<Condition, FalcoFault> {
        let size = self.measure(condition, usize::MAX, &mut Vec::new())?;
        if size.depth > DEPTH_MAX {
            return Err(FalcoFault::Deep);
        }
        self.spend(size.bytes)?;
        Ok(self.whole(condition))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), FalcoFault> {
        if bytes > CONDITION_BYTES_MAX {
            return Err(FalcoFault::ConditionBytes);
        }
        self.spent += bytes;
        if self.spent > CONDITIONS_BYTES_MAX {
            return Err(FalcoFault::ConditionsBytes);
        }
        Ok(())
    }

    fn with_lists(&mut self, text: &str) -> Result<String, FalcoFault> {
        let odd: Vec<String> = self.known_lists().filter(|it| it.contains(ends_name)).collect();
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut quote = None;
        let mut last = ' ';
        while let Some(c) = rest.chars().next() {
            let begins = quote.is_none() && (is_blank(last) || is_mark(last));
            if begins && let Some(name) = self.list_at(rest, &odd) {
                let after = rest.get(name.len()..).unwrap_or_default();
                rest = after.trim_start_matches(is_blank);
                out.truncate(out.trim_end_matches(is_blank).len());
                let values = self.values(&name)?;
                if values.is_empty() {
                    // An empty list takes one of the commas beside it with it.
                    if out.ends_with(',') {
                        out.truncate(out.len() - 1);
                    } else {
                        rest = rest.strip_prefix(',').unwrap_or(rest);
                    }
                }
                out.extend([" ", &values, " "]);
                last = ' ';
            } else {
                match quote {
                    Some(open) if c == open && last != '\\' => quote = None,
                    None if matches!(c, '"' | '\'') => quote = Some(c),
                    _ => {}
                }
                out.push(c);
                last = c;
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
            if out.len() > CONDITION_BYTES_MAX {
                return Err(FalcoFault::ConditionBytes);
            }
        }
        Ok(out)
    }

    fn known_lists(&self) -> impl Iterator<Item = String> {
        self.lists.keys().chain(&self.broken_lists).cloned()
    }

    /// The list whose name a text begins with. Names may hold blanks; those are `odd`.
    fn list_at(&self, text: &str, odd: &[String]) -> Option<String> {
        let end = text.find(ends_name).unwrap_or(text.len());
        let (token, after) = text.split_at_checked(end)?;
        let known = self.lists.contains_key(token) || self.broken_lists.contains(token);
        if known && !after.starts_with(['"', '\'']) {
            return Some(token.to_owned());
        }
        let ends = |after: &str| after.chars().next().is_none_or(|c| is_blank(c) || is_mark(c));
        let fits = |name: &&String| text.strip_prefix(name.as_str()).is_some_and(ends);
        odd.iter().filter(fits).max_by_key(|it| it.len()).cloned()
    }

    /// The values of a list, as they stand in a condition.
    fn values(&mut self, name: &str) -> Result<String, FalcoFault> {
        let mut gathered = Gathered::default();
        self.gather(name, &mut Vec::new(), &mut gathered)?;
        self.used_lists.append(&mut gathered.used);
        Ok(gathered.text)
    }

    fn gather<'n>(
        &'n self,
        name: &'n str,
        above: &mut Vec<&'n str>,
        gathered: &mut Gathered,
    ) -> Result<(), FalcoFault> {
        if self.broken_lists.contains(name) {
            return Err(FalcoFault::UsesBroken("list", name.to_owned()));
        }
        if above.len() >= DEPTH_MAX {
            return Err(FalcoFault::Deep);
        }
        gathered.used.insert(name.to_owned());
        above.push(name);
        for value in self.lists.get(name).into_iter().flatten() {
            gathered.count += 1;
            let known = self.lists.contains_key(value) || self.broken_lists.contains(value);
            // An item that has the name of its own list is a value: `docker: [docker, ...]`.
            if known && !above.contains(&value.as_str()) {
                self.gather(value, above, gathered)?;
            } else {
                if !gathered.text.is_empty() {
                    gathered.text.push_str(", ");
                }
                gathered.text.push_str(&item(value));
            }
            if gathered.count > LIST_ITEMS_MAX {
                return Err(FalcoFault::ListItems(name.to_owned()));
            }
            if gathered.text.len() > CONDITION_BYTES_MAX {
                return Err(FalcoFault::ConditionBytes);
            }
        }
        above.pop();
        Ok(())
    }

    fn measure(
        &mut self,
        condition: &Condition,
        visibility: usize,
        above: &mut Vec<String>,
    ) -> Result<Size, FalcoFault> {
        let own = match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                let mut size = Size::default();
                for part in parts {
                    let part = self.measure(part, visibility, above)?;
                    size.bytes += part.bytes + 4;
                    size.depth = size.depth.max(part.depth);
                }
                size
            }
            Condition::Not(part) => self.measure(part, visibility, above)?,
            Condition::Check(check) => {
                let right = match &check.right {
                    Right::None => 0,
                    Right::Value(value) => value.len(),
                    Right::List(values) | Right::Each(_, values) => text_bytes(values),
                    Right::Term(term) => term_bytes(term),
                };
                Size { bytes: term_bytes(&check.left) + right + 4, depth: 0 }
            }
            Condition::Macro(name) => {
                let visible = self.macros.get(name).is_some_and(|it| it.index < visibility);
                if self.broken_macros.contains(name) {
                    return Err(FalcoFault::UsesBroken("macro", name.clone()));
                }
                if !visible {
                    let nearest = self.nearest_macro(name);
                    return Err(FalcoFault::UndefinedMacro { name: name.clone(), nearest });
                }
                self.used_macros.insert(name.clone());
                return self.measure_macro(name, above);
            }
        };
        let size = Size { bytes: own.bytes + 4, depth: own.depth + 1 };
        if size.bytes > CONDITION_BYTES_MAX {
            return Err(FalcoFault::ConditionBytes);
        }
        Ok(size)
    }

    fn measure_macro(&mut self, name: &str, above: &mut Vec<String>) -> Result<Size, FalcoFault> {
        if above.iter().any(|it| it == name) {
            return Err(FalcoFault::MacroLoop(name.to_owned()));
        }
        if above.len() >= DEPTH_MAX {
            return Err(FalcoFault::Deep);
        }
        let Some(found) = self.macros.get_mut(name) else {
            return Err(FalcoFault::UsesBroken("macro", name.to_owned()));
        };
        if let Some(size) = found.size {
            return Ok(size);
        }
        // Taken out for as long as it is looked at: nobody else may, for that is a loop.
        let condition = std::mem::replace(&mut found.condition, Condition::All(Vec::new()));
        let visibility = found.visibility;
        above.push(name.to_owned());
        let size = self.measure(&condition, visibility, above);
        above.pop();
        if let Some(found) = self.macros.get_mut(name) {
            found.condition = condition;
            found.size = size.as_ref().ok().copied();
        }
        match size {
            Ok(size) if size.depth > DEPTH_MAX => Err(FalcoFault::Deep),
            other => other,
        }
    }

    /// The condition with its macros in; they were measured, so all are there.
    fn whole(&self, condition: &Condition) -> Condition {
        match condition {
            Condition::All(parts) => {
                Condition::All(parts.iter().map(|it| self.whole(it)).collect())
            }
            Condition::Any(parts) => {
                Condition::Any(parts.iter().map(|it| self.whole(it)).collect())
            }
            Condition::Not(part) => Condition::Not(Box::new(self.whole(part))),
            Condition::Check(check) => Condition::Check(check.clone()),
            Condition::Macro(name) => match self.macros.get(name) {
                Some(found) => self.whole(&found.condition),
                None => condition.clone(),
            },
        }
    }

    /// The macro that was probably meant.
    fn nearest_macro(&self, name: &str) -> Option<String> {
        let near = |known: &&String| strsim::damerau_levenshtein(known, name) <= 2;
        let all = self.macros.keys().filter(|known| known.as_str() != name);
        all.filter(near).min_by_key(|it| strsim::damerau_levenshtein(it, name)).cloned()
    }
}

/// What a list gave so far.
#[derive(Debug, Default)]
struct Gathered {
    text: String,
    count: usize,
    used: BTreeSet<String>,
}

fn text_bytes(texts: &[String]) -> usize {
    texts.iter().map(|it| it.len() + 2).sum()
}

fn term_bytes(term: &Term) -> usize {
    match term {
        Term::Field { name, argument } => name.len() + argument.as_ref().map_or(0, String::len),
        Term::Call { name, arguments, argument } => {
            let inner: usize = arguments.iter().map(|it| term_bytes(it) + 1).sum();
            name.len() + inner + argument.as_ref().map_or(0, String::len)
        }
        Term::Literal(text) => text.len(),
        Term::List(terms) => terms.iter().map(|it| term_bytes(it) + 1).sum(),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_mark(c: char) -> bool {
    matches!(c, '(' | ')' | ',' | '=')
}

/// Whether the name of a list ends before this character.
fn ends_name(c: char) -> bool {
    is_blank(c) || is_mark(c) || matches!(c, '"' | '\'')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::falco::print::canonical;

    fn names(lists: &[(&str, &[&str])], macros: &[(&str, &str)]) -> Names {
        let mut names = Names::default();
        for (name, items) in lists {
            names.lists.insert((*name).to_owned(), items.iter().map(|it| (*it).into()).collect());
        }
        for (at, (name, text)) in macros.iter().enumerate() {
            let condition = names.read(text).unwrap();
            names.macros.insert((*name).to_owned(), Macro::new(condition, at, at));
        }
        names
    }

    fn expand(names: &mut Names, text: &str) -> Result<String, FalcoFault> {
        let condition = names.read(text)?;
        names.with_macros(&condition).map(|it| canonical(&it))
    }

    #[test]
    fn lists_are_put_in_where_a_name_stands_alone() {
        let lists: &[(&str, &[&str])] = &[
            ("two", &["a b", "c"]),
            ("one", &["x"]),
            ("none", &[]),
            ("all", &["two", "one", "none", "all"]),
            ("odd name", &["z"]),
        ];
        let mut names = names(lists, &[]);
        for (text, want) in [
            ("f.f in (two)", "f.f in (\"a b\", c)"),
            ("f.f in (all,y)", "f.f in (\"a b\", c, x, all, y)"),
            ("f.f in (none)", "f.f in ()"),
            ("f.f in (y, none, q) or f.f in (none, y)", "(f.f in (y, q) or f.f in (y))"),
            ("f.f=one", "f.f = x"),
            ("f.f in (odd name, \"one\", 'a one b', ones)", "f.f in (z, one, \"a one b\", ones)"),
        ] {
            assert_eq!(expand(&mut names, text).as_deref(), Ok(want), "{text}");
        }
        assert!(names.used_lists.contains("one") && names.used_lists.contains("none"));
    }

    #[test]
    fn macros_see_those_before_them() {
        let mut names =
            names(&[], &[("a", "x.y = 1"), ("b", "not a"), ("c", "d or a"), ("d", "a")]);
        assert_eq!(expand(&mut names, "b and d").as_deref(), Ok("(not x.y = 1 and x.y = 1)"));
        let undefined = |name: &str, nearest: Option<&str>| {
            let nearest = nearest.map(str::to_owned);
            Err(FalcoFault::UndefinedMacro { name: name.into(), nearest })
        };
        assert_eq!(names.check_macro("c"), undefined("d", Some("a")));
        names.macros.get_mut("c").unwrap().visibility = 9;
        names.macros.get_mut("d").unwrap().visibility = 9;
        names.macros.get_mut("d").unwrap().condition = names.read("c").unwrap();
        names.macros.get_mut("d").unwrap().size = None;
        assert_eq!(names.check_macro("c"), Err(FalcoFault::MacroLoop("c".into())));
        names.broken_macros.insert("e".into());
        let broken = Err(FalcoFault::UsesBroken("macro", "e".into()));
        assert_eq!(expand(&mut names, "e or a"), broken);
    }

    #[test]
    fn bombs_are_refused_before_they_are_lit() {
        let doubling: Vec<(String, String)> =
            (1..40).map(|at| (format!("m{at}"), format!("m{} and m{}", at - 1, at - 1))).collect();
        let mut macros = vec![("m0", "x.y = 1")];
        macros.extend(doubling.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let mut names = names(&[], &macros);
        assert_eq!(expand(&mut names, "m39"), Err(FalcoFault::ConditionBytes));
        assert!(expand(&mut names, "m10").is_ok());

        let chain: Vec<(String, String)> =
            (1..=DEPTH_MAX).map(|at| (format!("m{at}"), format!("not m{}", at - 1))).collect();
        let mut macros = vec![("m0", "x.y = 1")];
        macros.extend(chain.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let mut names = self::names(&[], &macros);
        assert!(expand(&mut names, &format!("m{}", DEPTH_MAX - 1)).is_ok());
        assert_eq!(expand(&mut names, &format!("m{DEPTH_MAX}")), Err(FalcoFault::Deep));
    }

    #[test]
    fn lists_have_limits() {
        let mut names = Names::default();
        names.lists.insert("l0".into(), Vec::new());
        for at in 1..40 {
            let below = format!("l{}", at - 1);
            names.lists.insert(format!("l{at}"), vec![below.clone(), below]);
        }
        let full = expand(&mut names, "x.y in (l39)");
        assert!(matches!(full, Err(FalcoFault::ListItems(_))), "{full:?}");
        names.lists.insert("long".into(), vec!["v".into(); LIST_ITEMS_MAX]);
        assert!(expand(&mut names, "x.y in (long)").is_ok());
        names.lists.insert("longer".into(), vec!["v".into(); LIST_ITEMS_MAX + 1]);
        let full = Err(FalcoFault::ListItems("longer".into()));
        assert_eq!(expand(&mut names, "x.y in (longer)"), full);
        names.lists.insert("wide".into(), vec!["v".repeat(1_000); 2_000]);
        assert_eq!(expand(&mut names, "x.y in (wide)"), Err(FalcoFault::ConditionBytes));
        names.lists.insert("fits".into(), vec!["v".repeat(1_000); 1_000]);
        let rules = CONDITIONS_BYTES_MAX / 1_000_000;
        let last = (0..rules).map(|_| expand(&mut names, "x.y in (fits)").err()).last().flatten();
        assert_eq!(last, Some(FalcoFault::ConditionsBytes));
    }
}
