//! The keys that the paths of a rule set lead through: what of a body is worth reading.

use super::path::Path;
use super::scratch::Root;

/// All paths below each root.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Those of the roots come first, in their order.
    nodes: Vec<Node>,
}

/// Where paths have come after some keys.
#[derive(Debug, Default)]
struct Node {
    /// The keys by which they go on, as they are, and where to.
    keys: Vec<(Box<str>, usize)>,
    /// Whether one ends here, so that all there is may be looked at.
    whole: bool,
}

/// One place in a [`Wanted`].
#[derive(Clone, Copy)]
pub(super) struct Place<'w> {
    all: &'w Wanted,
    node: &'w Node,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            nodes: std::iter::repeat_with(Node::default).take(Root::Line as usize + 1).collect(),
        }
    }
}

impl Wanted {
    /// Adds a path, at whose end only some paths are looked into, or everything for `None`.
    /// Members are not told apart by their places.
    pub(super) fn add(&mut self, root: Root, path: &Path, below: Option<&[Path]>) {
        let end = self.walk(root as usize, path);
        let ends: Vec<usize> = match below {
            None => vec![end],
            Some(below) => below.iter().map(|it| self.walk(end, it)).collect(),
        };
        for end in ends {
            if let Some(node) = self.nodes.get_mut(end) {
                node.whole = true;
            }
        }
    }

    fn walk(&mut self, from: usize, path: &Path) -> usize {
        path.steps().iter().fold(from, |at, step| self.next(at, step.key()))
    }

    fn next(&mut self, at: usize, key: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        if let Some((_, known)) = node.keys.iter().find(|it| *it.0 == *key) {
            return *known;
        }
        node.keys.push((key.into(), new));
        self.nodes.push(Node::default());
        new
    }

    /// Where the paths below a root begin.
    pub(super) fn root(&self, root: Root) -> Option<Place<'_>> {
        Some(Place { all: self, node: self.nodes.get(root as usize)? })
    }
}

impl<'w> Place<'w> {
    /// Whether all there is may be looked at.
    pub(super) fn whole(self) -> bool {
        self.node.whole
    }

    /// Where the paths go on that lead through a key. `None`: none does.
    #[inline]
    pub(super) fn below(self, key: &[u8]) -> Option<Place<'w>> {
        let (_, next) = self.node.keys.iter().find(|it| it.0.as_bytes() == key)?;
        Some(Place { node: self.all.nodes.get(*next)?, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::memo::tests::{PATHS, bodies};
    use crate::rules::memo::{Memo, Numbers};
    use crate::rules::tree::{Parts, Tree};
    use crate::rules::value::View;
    use proptest::prelude::*;

    const ROOT: Root = Root::RequestObject;

    fn walked(path: &Path, tree: &Tree<'_>) -> Vec<String> {
        let mut found = Vec::new();
        path.visit(tree, &mut |view| {
            if let View::Tree(value) = view {
                found.push(format!("{} {:?}", value.json(), value.value()));
            }
            false
        });
        found
    }

    fn read(json: &str, wanted: &Wanted) -> (Parts, Parts) {
        let (mut all, mut some) = (Parts::default(), Parts::default());
        all.read(json);
        some.read_wanted(json, wanted.root(ROOT).unwrap());
        (all, some)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_left_out_is_missed_by_no_path(
            body in bodies(),
            asked in prop::sample::subsequence(&PATHS[..], 1..5),
        ) {
            let asked: Vec<Path> = asked.into_iter().map(Path::parse).collect();
            let (mut wanted, mut numbers) = (Wanted::default(), Numbers::default());
            asked.iter().for_each(|it| wanted.add(ROOT, it, None));
            let (all, some) = read(&body, &wanted);
            let (all, some) = (all.tree(&body).unwrap(), some.tree(&body).unwrap());
            let mut memo = Memo::default();
            for path in &asked {
                let want = walked(path, &all);
                prop_assert_eq!(&walked(path, &some), &want, "{} in {}", path, body);
                let reached = memo.reach(&some, path, &numbers.of(ROOT, path));
                if let Some(reached) = reached {
                    let values = reached.map(|it| some.at(memo.place(it).unwrap()).unwrap());
                    let found: Vec<_> =
                        values.map(|it| format!("{} {:?}", it.json(), it.value())).collect();
                    prop_assert_eq!(found, want, "{} in {}", path, body);
                }
            }
        }
    }

    #[test]
    fn what_no_path_leads_to_is_left_out() {
        let mut wanted = Wanted::default();
        wanted.add(ROOT, &Path::parse("a.b"), None);
        let members = [Path::parse("x.y"), Path::parse("z")];
        wanted.add(ROOT, &Path::parse("m"), Some(&members));
        let json =
            r#"{"a":[{"b":{"c":1},"d":{"e":2}}],"f":[3],"m":[{"x":{"y":{"v":4},"w":5},"u":6}]}"#;
        let (_, some) = read(json, &wanted);
        let want = serde_json::json!({"a":[{"b":{"c":1}}],"m":[{"x":{"y":{"v":4}}}]});
        assert_eq!(some.tree(json).unwrap().value(), want);
    }

    #[test]
    fn depth_is_noticed_in_what_is_left_out() {
        let mut wanted = Wanted::default();
        wanted.add(ROOT, &Path::parse("a.b"), None);
        let nested = |key: &str, depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"a":{{"{key}":{open}1{close},"b":7}}}}"#)
        };
        for (key, depth, whole) in
            [("x", 126, true), ("x", 127, false), ("b", 126, true), ("b", 127, false)]
        {
            let json = nested(key, depth);
            let (all, some) = read(&json, &wanted);
            assert_eq!((all.whole(), some.whole()), (whole, whole), "{key} {depth}");
        }
    }

    #[test]
    fn broken_text_ends() {
        let mut wanted = Wanted::default();
        wanted.add(ROOT, &Path::parse("a.b"), None);
        wanted.add(ROOT, &Path::parse("a.c"), Some(&[Path::parse("d")]));
        let json = r#"{"a":[{"b":[1,{"x":"y"}],"c":[{"d":1},{"e":"f\\"}]}],"q.r":{"\u0061":[]}}"#;
        for end in 0..json.len() {
            for (from, to) in [("", ""), ("]", "}"), ("}", "]"), (":", ","), ("\"", "")] {
                read(&json.get(..end).unwrap().replacen(from, to, 1), &wanted);
                read(&json.get(..end).unwrap().replace(from, to), &wanted);
            }
        }
    }
}
