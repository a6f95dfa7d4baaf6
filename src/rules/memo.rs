//! What lies at the paths of a rule set in one event, each step of each path taken once.
//!
//! Many rules ask for the same fields of a body, and the paths of a pod's spec alone are a dozen
//! that begin alike. So every distinct beginning of a path in a rule set has a number, and the
//! places it leads to are noted under it until the next event. So has every field that lies at
//! several paths, as those of a pod's spec do, which is in a Pod, a Deployment or a `CronJob`.
//!
//! Keys with dots in them are the exception that [`Path::visit`] knows and this does not: where an
//! object on the way has one, the answer is "not known", and the caller walks the path itself.

use std::collections::BTreeMap;
use std::ops::Range;

use super::path::{Path, Step, member};
use super::scratch::Root;
use super::tree::{Kind, Tree};
use super::wanted::Wanted;

/// Gives numbers to the beginnings of paths, equal ones to equal ones.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    known: BTreeMap<(Root, Option<u32>, Step), u32>,
    fields: BTreeMap<(bool, Vec<u32>), u32>,
    wanted: Wanted,
}

impl Numbers {
    /// The number of a field that lies at any of several paths, given by the paths' own numbers, as
    /// they are or in the object that a patch makes.
    pub(super) fn field(&mut self, patched: bool, paths: Vec<u32>) -> u32 {
        let next = u32::try_from(self.fields.len()).unwrap_or(u32::MAX);
        *self.fields.entry((patched, paths)).or_insert(next)
    }

    /// What is to be read for paths.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// See [`Wanted::add`].
    pub(super) fn want(&mut self, root: Root, path: &Path, below: Option<&[Path]>) {
        self.wanted.add(root, path, below);
    }

    /// The number of every beginning of a path below a root, shortest first.
    pub(super) fn of(&mut self, root: Root, path: &Path) -> Box<[u32]> {
        let mut before = None;
        let number = |step: &Step| {
            let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
            let number = *self.known.entry((root, before, step.clone())).or_insert(next);
            before = Some(number);
            number
        };
        path.steps().iter().map(number).collect()
    }
}

/// The places of one event.
#[derive(Debug)]
pub(super) struct Memo {
    /// By the number of a path's beginning; of another event when the stamp is not this one's.
    known: Vec<Known>,
    /// By the number of a field.
    fields: Vec<Known>,
    places: Vec<u32>,
    stamp: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    stamp: u64,
    first: u32,
    end: u32,
    /// Whether longer paths may go on from here: no key on the last step had a dot in it.
    onward: bool,
}

impl Default for Memo {
    /// No slot is of the first event before it is filled, so the stamp is none of an empty one.
    fn default() -> Memo {
        let stamp = Known::default().stamp + 1;
        Memo { known: Vec::new(), fields: Vec::new(), places: Vec::new(), stamp }
    }
}

impl Memo {
    /// Forgets the last event.
    pub(super) fn clear(&mut self) {
        self.stamp += 1;
        self.places.clear();
    }

    /// Where the path leads to in a root's tree, as a range for [`Memo::place`]. `None`: not
    /// known. `numbers` are those of this path, or none.
    pub(super) fn reach(
        &mut self,
        tree: &Tree<'_>,
        path: &Path,
        numbers: &[u32],
    ) -> Option<Range<u32>> {
        // A path of no steps leads to the tree itself, which has no number.
        if numbers.is_empty() || numbers.len() != path.len() {
            return None;
        }
        let mut here = Known { stamp: self.stamp, first: 0, end: 0, onward: true };
        for (index, (step, number)) in path.steps().iter().zip(numbers).enumerate() {
            here = match self.known.get(*number as usize).filter(|it| it.stamp == self.stamp) {
                Some(known) => *known,
                None => {
                    let next = self.step(tree, (index > 0).then_some(here), step);
                    note(&mut self.known, *number, next);
                    next
                }
            };
            if !here.onward && index + 1 < path.len() {
                return None;
            }
            // Nothing is below nothing.
            if here.first == here.end {
                break;
            }
        }
        Some(here.first..here.end)
    }

    /// Where a field lies, which has this number, by its paths and their numbers: as [`Memo::reach`]
    /// of each, one after the other.
    pub(super) fn field<'p>(
        &mut self,
        tree: &Tree<'_>,
        number: u32,
        paths: impl Iterator<Item = (&'p Path, &'p [u32])> + Clone,
    ) -> Option<Range<u32>> {
        let known = match self.fields.get(number as usize).filter(|it| it.stamp == self.stamp) {
            Some(known) => *known,
            None => {
                let next = self.gather(tree, paths);
                note(&mut self.fields, number, next);
                next
            }
        };
        known.onward.then_some(known.first..known.end)
    }

    /// The places of several paths, side by side. Not onward: of one of them they are not known.
    fn gather<'p>(
        &mut self,
        tree: &Tree<'_>,
        paths: impl Iterator<Item = (&'p Path, &'p [u32])> + Clone,
    ) -> Known {
        let mut only = 0..0;
        let mut full = 0;
        let mut onward = true;
        for (path, numbers) in paths.clone() {
            match self.reach(tree, path, numbers) {
                None => onward = false,
                Some(places) if places.is_empty() => {}
                Some(places) => (only, full) = (places, full + 1),
            }
        }
        if onward && full > 1 {
            // By now every step is known, so that nothing but this adds places.
            let first = self.count();
            for (path, numbers) in paths {
                let places = self.reach(tree, path, numbers).unwrap_or_default();
                self.places.extend_from_within(places.start as usize..places.end as usize);
            }
            only = first..self.count();
        }
        Known { stamp: self.stamp, first: only.start, end: only.end, onward }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// The place at an index that [`Memo::reach`] gave.
    pub(super) fn place(&self, index: u32) -> Option<u32> {
        self.places.get(index as usize).copied()
    }

    /// One step on from some places; from the tree itself where there are none yet.
    fn step(&mut self, tree: &Tree<'_>, from: Option<Known>, step: &Step) -> Known {
        let first = self.count();
        let mut onward = true;
        match from {
            None => self.into(tree, step, &mut onward),
            Some(from) => {
                for index in from.first..from.end {
                    let place = self.place(index).and_then(|it| tree.at(it));
                    if let Some(value) = place {
                        self.into(&value, step, &mut onward);
                    }
                }
            }
        }
        Known { stamp: self.stamp, first, end: self.count(), onward }
    }

    fn into(&mut self, value: &Tree<'_>, step: &Step, onward: &mut bool) {
        match value.kind() {
            Kind::Array => value.members().for_each(|it| self.into(&it, step, onward)),
            Kind::Object => {
                *onward &= !value.odd_keys();
                let found = value.get(step.key());
                let found = match step.index() {
                    None => found,
                    Some(index) => found.and_then(|it| member(&it, index)),
                };
                self.places.extend(found.map(|it| it.place()));
            }
            _ => {}
        }
    }
}

/// Notes under a number what is known, in a list that grows with the numbers.
pub(super) fn note<K: Clone + Default>(known: &mut Vec<K>, number: u32, what: K) {
    let at = number as usize;
    if known.len() <= at {
        known.resize(at + 1, K::default());
    }
    if let Some(slot) = known.get_mut(at) {
        *slot = what;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rules::tree::Parts;
    use crate::rules::value::View;
    use proptest::prelude::*;

    /// What a path leads to by the memory, and by walking it.
    fn both(
        memo: &mut Memo,
        numbers: &mut Numbers,
        json: &str,
        path: &str,
    ) -> (Option<Vec<u32>>, Vec<u32>) {
        let mut parts = Parts::default();
        parts.read(json);
        let tree = parts.tree(json).unwrap();
        let path = Path::parse(path);
        let numbers = numbers.of(Root::RequestObject, &path);
        let reached = memo.reach(&tree, &path, &numbers);
        let reached = reached.map(|it| it.map(|at| memo.place(at).unwrap()).collect());
        let mut walked = Vec::new();
        path.visit(&tree, &mut |view| {
            if let View::Tree(value) = view {
                walked.push(value.place());
            }
            false
        });
        (reached, walked)
    }

    #[test]
    fn the_first_event_of_all_is_like_any_other() {
        let (mut memo, mut numbers) = (Memo::default(), Numbers::default());
        numbers.of(Root::RequestObject, &Path::parse("b"));
        let (reached, walked) = both(&mut memo, &mut numbers, r#"{"a":1,"b":2}"#, "a");
        assert_eq!(reached, Some(walked));
        let (reached, walked) = both(&mut memo, &mut numbers, r#"{"a":1,"b":2}"#, "b");
        assert_eq!(reached, Some(walked));
    }

    #[test]
    fn the_tree_itself_is_left_to_the_walk() {
        let mut parts = Parts::default();
        parts.read("[1]");
        let tree = parts.tree("[1]").unwrap();
        let whole = Path::default();
        let numbers = Numbers::default().of(Root::RequestObject, &whole);
        assert_eq!(Memo::default().reach(&tree, &whole, &numbers), None);
    }

    #[test]
    fn a_key_with_a_dot_on_the_way_is_left_to_the_walk() {
        let (mut memo, mut numbers) = (Memo::default(), Numbers::default());
        memo.clear();
        let json = r#"{"a":{"x.y":1,"b":2},"c.d":3}"#;
        assert_eq!(both(&mut memo, &mut numbers, json, "a").0.unwrap().len(), 1);
        assert_eq!(both(&mut memo, &mut numbers, json, "a.b").0, None);
        assert_eq!(both(&mut memo, &mut numbers, json, "c.d").0, None);
    }

    #[test]
    fn a_fresh_memory_knows_nothing_of_paths_with_lower_numbers() {
        let (mut memo, mut numbers) = (Memo::default(), Numbers::default());
        let json = r#"{"a":1,"b":2}"#;
        numbers.of(Root::RequestObject, &Path::parse("a"));
        assert_eq!(both(&mut memo, &mut numbers, json, "b").0.unwrap().len(), 1);
        assert_eq!(both(&mut memo, &mut numbers, json, "a").0.unwrap().len(), 1);
    }

    /// Objects and arrays whose keys are those of the paths below.
    pub(in crate::rules) fn bodies() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("1"), Just("null"), Just("\"x\""), Just("[]"), Just("{}")]
            .prop_map(str::to_owned);
        let key = prop_oneof![
            5 => Just("a"), 5 => Just("b"), 3 => Just("c"), 1 => Just("a.b"), 1 => Just("\\u0061"),
        ];
        leaf.prop_recursive(6, 60, 4, move |inner| {
            let entry = (key.clone(), inner.clone());
            prop_oneof![
                1 => prop::collection::vec(inner, 0..4).prop_map(|it| format!("[{}]", it.join(","))),
                3 => prop::collection::vec(entry, 0..4).prop_map(|it| {
                    let entries: Vec<String> =
                        it.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", entries.join(","))
                }),
            ]
        })
    }

    pub(in crate::rules) const PATHS: [&str; 10] =
        ["a", "a.b", "a.b.c", "a.a", "a[0].b", "a[-1]", "b.a.b.c", "b[1].a", "a\\.b", "c.a.b"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_memory_says_what_the_walk_says(bodies in prop::collection::vec(bodies(), 1..4)) {
            let (mut memo, mut numbers) = (Memo::default(), Numbers::default());
            for body in &bodies {
                memo.clear();
                for path in PATHS.iter().chain(&PATHS) {
                    let (reached, walked) = both(&mut memo, &mut numbers, body, path);
                    if let Some(reached) = reached {
                        prop_assert_eq!(reached, walked, "{} in {}", path, body);
                    } else {
                        prop_assert!(body.contains("a.b") || body.contains('\\'), "{}", body);
                    }
                }
            }
        }

        #[test]
        fn a_field_lies_where_its_paths_lead(bodies in prop::collection::vec(bodies(), 1..4)) {
            let (mut memo, mut numbers) = (Memo::default(), Numbers::default());
            let paths = PATHS.map(Path::parse);
            let numbered: Vec<_> =
                paths.iter().map(|it| (it, numbers.of(Root::RequestObject, it))).collect();
            for body in &bodies {
                memo.clear();
                let mut parts = Parts::default();
                parts.read(body);
                let tree = parts.tree(body).unwrap();
                // Fields of three paths that overlap, each twice: as it is found, and as known.
                for _ in 0..2 {
                    for (field, paths) in (0..).zip(numbered.windows(3)) {
                        let each = paths.iter().map(|it| (it.0, &*it.1));
                        let found = memo.field(&tree, field, each.clone());
                        let found: Option<Vec<_>> =
                            found.map(|it| it.map(|at| memo.place(at)).collect());
                        let one = |it: (&Path, &[u32])| memo.reach(&tree, it.0, it.1);
                        let reached: Option<Vec<_>> = each.map(one).collect();
                        let want: Option<Vec<_>> = reached
                            .map(|it| it.into_iter().flatten().map(|at| memo.place(at)).collect());
                        prop_assert_eq!(found, want, "{} in {}", field, body);
                    }
                }
            }
        }
    }
}
