//! A JSON patch (RFC 6902) as the object that its operations write.
//!
//! What the patch is applied to is not known, so the object is a partial one: it has
//! what the operations write, at its place, and nothing else. Members of an array are
//! those the operations touch, in the order in which they were first touched. Who
//! splits one container over several operations, or carries it in by a detour with
//! `copy` and `move`, is seen as well.

use std::collections::BTreeMap;

use super::tree::{Kind, Tree};
use crate::event::unquote;

/// The API server refuses a patch with more operations, so nothing is written by one.
pub(super) const OPERATIONS_MAX: usize = 10_000;

/// What lies deeper is left out: no field of a rule goes there, as a path has at most
/// half as many keys and every second one may be a place in an array.
pub(super) const DEPTH_MAX: usize = 64;

/// The API server refuses a patch that copies more.
pub(super) const COPIED_BYTES_MAX: usize = 3 << 20;

/// Past so many members looked at, members are no longer told apart by their index: every
/// operation has one of its own. What is written is seen all the same.
pub(super) const WALKED_MAX: usize = 1 << 22;

/// `copy` and `move` may carry values so many levels further down, all in all: who walks
/// the object recurses.
pub(super) const CARRIED_MAX: usize = 1_024;

/// What a patch writes, as JSON text, and whether no limit was in the way.
pub(super) fn written(operations: &Tree<'_>) -> (String, bool) {
    let mut root = Node::Unknown;
    let mut spent = Spent::default();
    let mut refused = operations.members().nth(OPERATIONS_MAX).is_some();
    for operation in operations.members() {
        if refused {
            return ("{}".to_owned(), false);
        }
        apply(&operation, &mut root, &mut spent);
        refused = spent.copied > COPIED_BYTES_MAX;
    }
    let mut text = String::new();
    root.write(&mut text);
    (text, spent.walked <= WALKED_MAX && spent.carried <= CARRIED_MAX)
}

/// What a patch has cost so far.
#[derive(Debug, Default)]
struct Spent {
    /// Bytes.
    copied: usize,
    /// Members of arrays.
    walked: usize,
    /// Levels.
    carried: usize,
}

impl Spent {
    /// Whether an array may be walked once more.
    fn walk(&mut self, members: &Members<'_>) -> bool {
        self.walked = self.walked.saturating_add(members.len());
        self.walked <= WALKED_MAX
    }

    /// Whether a value may be carried to a place.
    fn carry(&mut self, path: &[String]) -> bool {
        self.carried = self.carried.saturating_add(path.len());
        self.carried <= CARRIED_MAX
    }
}

fn apply<'t>(operation: &Tree<'t>, root: &mut Node<'t>, spent: &mut Spent) {
    let text = |key: &str| operation.get(key).and_then(|it| unquote(it.json()));
    let place = |key: &str| text(key).map(|it| pointer(&it)).filter(|it| it.len() <= DEPTH_MAX);
    let (Some(kind), Some(path)) = (text("op"), place("path")) else {
        return;
    };
    let value = || operation.get("value").map_or(Node::Unknown, Node::Whole);
    match &*kind {
        "add" => root.set(&path, value(), Write::Insert, spent),
        "replace" => root.set(&path, value(), Write::Replace, spent),
        "remove" => drop(root.take(&path, spent)),
        "move" => {
            let moved = place("from").and_then(|it| root.take(&it, spent));
            let moved = moved.filter(|_| spent.carry(&path)).unwrap_or_default();
            root.set(&path, moved, Write::Insert, spent);
        }
        "copy" => {
            let copied = place("from").filter(|_| spent.carry(&path));
            let copied = copied.and_then(|it| root.copy(&it, spent)).unwrap_or_default();
            root.set(&path, copied, Write::Insert, spent);
        }
        _ => {}
    }
}

/// The keys of a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Vec<String> {
    text.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~")).collect()
}

/// What is known of a value.
#[derive(Debug, Clone, Default)]
enum Node<'t> {
    /// It is there.
    #[default]
    Unknown,
    /// All of it, as the request has it.
    Whole(Tree<'t>),
    Object(BTreeMap<String, Node<'t>>),
    Array(Members<'t>),
}

/// Members of an array that are known of, each with its index where that is known.
type Members<'t> = Vec<(Option<usize>, Node<'t>)>;

/// How a value gets to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// A member of an array pushes the ones behind it further.
    Insert,
    Replace,
}

impl<'t> Node<'t> {
    /// Opens a whole object or array, one level deep.
    fn open(&mut self) {
        let Node::Whole(tree) = self else {
            return;
        };
        let whole = Node::Whole;
        match tree.kind() {
            Kind::Object => {
                let fields = tree.fields().map(|(key, it)| (key.into_owned(), whole(it)));
                *self = Node::Object(fields.collect());
            }
            Kind::Array => {
                let members = tree.members().enumerate().map(|(at, it)| (Some(at), whole(it)));
                *self = Node::Array(members.collect());
            }
            _ => {}
        }
    }

    /// Opens it for `key`, and makes it a container when it is none that is known.
    fn open_for(&mut self, key: &str) {
        self.open();
        if matches!(self, Node::Unknown | Node::Whole(_)) {
            *self = match index(key) {
                Some(_) => Node::Array(Vec::new()),
                None => Node::Object(BTreeMap::new()),
            };
        }
    }

    /// Puts a value at a place.
    fn set(&mut self, path: &[String], value: Node<'t>, write: Write, spent: &mut Spent) {
        let Some((key, below)) = path.split_first() else {
            *self = value;
            return;
        };
        self.open_for(key);
        match self {
            Node::Array(members) if below.is_empty() => {
                let at = index(key).flatten();
                if let (Write::Insert, Some(at)) = (write, at) {
                    shift(members, at, 1, spent);
                }
                match position(members, at, spent).and_then(|it| members.get_mut(it)) {
                    Some((_, member)) if write == Write::Replace => *member = value,
                    _ => members.push((at, value)),
                }
            }
            Node::Array(members) => {
                let at = index(key).flatten();
                match position(members, at, spent).and_then(|it| members.get_mut(it)) {
                    Some((_, member)) => member.set(below, value, write, spent),
                    None => {
                        let mut member = Node::Unknown;
                        member.set(below, value, write, spent);
                        members.push((at, member));
                    }
                }
            }
            Node::Object(members) => {
                members.entry(key.clone()).or_default().set(below, value, write, spent);
            }
            Node::Unknown | Node::Whole(_) => {}
        }
    }

    /// What is known of the value at a place; `None` as well when it is too much to copy.
    fn copy(&mut self, path: &[String], spent: &mut Spent) -> Option<Node<'t>> {
        let Some((key, below)) = path.split_first() else {
            spent.copied = spent.copied.saturating_add(self.bytes());
            return (spent.copied <= COPIED_BYTES_MAX).then(|| self.clone());
        };
        self.open();
        match self {
            Node::Object(members) => members.get_mut(key)?.copy(below, spent),
            Node::Array(members) => {
                let place = position(members, index(key)?, spent)?;
                members.get_mut(place)?.1.copy(below, spent)
            }
            Node::Unknown | Node::Whole(_) => None,
        }
    }

    /// Takes away what is at a place, and gives what was known of it.
    fn take(&mut self, path: &[String], spent: &mut Spent) -> Option<Node<'t>> {
        let (key, below) = path.split_first()?;
        self.open();
        match self {
            Node::Object(members) if below.is_empty() => members.remove(key),
            Node::Object(members) => members.get_mut(key)?.take(below, spent),
            Node::Array(members) => {
                let at = index(key)?;
                let place = position(members, at, spent);
                if !below.is_empty() {
                    return members.get_mut(place?)?.1.take(below, spent);
                }
                let taken = place.map(|it| members.remove(it).1);
                if let Some(at) = at {
                    shift(members, at.saturating_add(1), -1, spent);
                }
                taken
            }
            Node::Unknown | Node::Whole(_) => None,
        }
    }

    /// How long it is as text, more or less.
    fn bytes(&self) -> usize {
        match self {
            Node::Unknown => 2,
            Node::Whole(tree) => tree.json().len(),
            Node::Object(members) => members.iter().map(|(key, it)| key.len() + it.bytes()).sum(),
            Node::Array(members) => members.iter().map(|(_, it)| 1 + it.bytes()).sum(),
        }
    }

    /// Adds it to `text` as JSON. What is unknown is an object without a field.
    fn write(&self, text: &mut String) {
        match self {
            Node::Unknown => text.push_str("{}"),
            Node::Whole(tree) => text.push_str(tree.json()),
            Node::Object(members) => {
                text.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    text.push_str(if at > 0 { "," } else { "" });
                    text.push_str(&serde_json::Value::from(key.as_str()).to_string());
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
            Node::Array(members) => {
                text.push('[');
                for (at, (_, value)) in members.iter().enumerate() {
                    text.push_str(if at > 0 { "," } else { "" });
                    value.write(text);
                }
                text.push(']');
            }
        }
    }
}

/// Reads a key as a place in an array: `Some(None)` is one counted from the end.
fn index(key: &str) -> Option<Option<usize>> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    if !digits.bytes().all(|it| it.is_ascii_digit()) || key.is_empty() {
        return None;
    }
    Some(key.parse().ok())
}

/// Where the member with an index is. `None`: nothing is known of it.
fn position(members: &Members<'_>, at: Option<usize>, spent: &mut Spent) -> Option<usize> {
    if at.is_none() || !spent.walk(members) {
        return None;
    }
    members.iter().position(|(it, _)| *it == at)
}

/// Moves the indexes from `from` on by one place.
fn shift(members: &mut Members<'_>, from: usize, by: isize, spent: &mut Spent) {
    if !spent.walk(members) {
        return;
    }
    for at in members.iter_mut().filter_map(|(at, _)| at.as_mut()).filter(|at| **at >= from) {
        *at = at.saturating_add_signed(by);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rules::tree::Parts;

    fn patch(operations: &Value) -> Value {
        let text = operations.to_string();
        let mut parts = Parts::default();
        parts.read(&text);
        serde_json::from_str(&written(&parts.tree(&text).unwrap()).0).unwrap()
    }

    #[test]
    fn values_stand_where_the_operations_put_them() {
        let found = patch(&json!([
            {"op":"test","path":"/spec/x","value":1},
            {"op":"add","path":"/spec/containers/0/securityContext/privileged","value":true},
            {"op":"replace","path":"/spec/containers/0/image","value":"a"},
            {"op":"add","path":"/metadata/labels/a~1b~0c","value":"l"},
        ]));
        let want = json!({
            "metadata":{"labels":{"a/b~c":"l"}},
            "spec":{"containers":[{"image":"a","securityContext":{"privileged":true}}]},
        });
        assert_eq!(found, want);
    }

    #[test]
    fn members_that_are_pushed_further_stay_themselves() {
        let found = patch(&json!([
            {"op":"add","path":"/c/0","value":{"n":"first"}},
            {"op":"add","path":"/c/0","value":{"n":"second"}},
            {"op":"add","path":"/c/1/p","value":true},
            {"op":"remove","path":"/c/0"},
            {"op":"add","path":"/c/0/q","value":true},
            {"op":"add","path":"/c/-","value":{"n":"last"}},
            {"op":"add","path":"/c/-1/x","value":1},
        ]));
        let want = json!({"c":[{"n":"first","p":true,"q":true},{"n":"last"},{"x":1}]});
        assert_eq!(found, want);
    }

    #[test]
    fn a_detour_is_followed() {
        let found = patch(&json!([
            {"op":"add","path":"/a","value":{"privileged":true}},
            {"op":"copy","from":"/a","path":"/b"},
            {"op":"move","from":"/a","path":"/c"},
            {"op":"move","from":"/unknown","path":"/d"},
        ]));
        let inner = json!({"privileged":true});
        assert_eq!(found, json!({"b":inner,"c":inner,"d":{}}));
    }

    #[test]
    fn a_whole_document_and_what_is_no_operation() {
        assert_eq!(patch(&json!([{"op":"replace","path":"","value":{"a":1}}])), json!({"a":1}));
        assert_eq!(patch(&json!([1, {}, {"op":"add"}, {"op":"x","path":"/a"}])), json!({}));
    }

    #[test]
    fn what_is_written_is_seen_however_much_there_is() {
        let mut operations = vec![json!({"op":"add","path":"/c","value":vec![0; 2_000]})];
        operations.extend(vec![json!({"op":"add","path":"/c/0","value":1}); 3_000]);
        operations.push(json!({"op":"add","path":"/c/0/privileged","value":true}));
        let found = patch(&operations.into());
        let members = found["c"].as_array().unwrap();
        assert!(members.contains(&json!({"privileged":true})), "{}", members.len());
    }

    #[test]
    fn values_are_carried_only_so_far_down() {
        let carry = |times: usize| {
            let mut operations = vec![json!({"op":"add","path":"/a","value":{"x":1}})];
            for _ in 0..times {
                operations.push(json!({"op":"move","from":"/a","path":"/b/a"}));
                operations.push(json!({"op":"move","from":"/b","path":"/a"}));
            }
            Value::from(operations)
        };
        let text = |operations: &Value| {
            let text = operations.to_string();
            let mut parts = Parts::default();
            parts.read(&text);
            written(&parts.tree(&text).unwrap())
        };
        assert_eq!(text(&carry(2)), (r#"{"a":{"a":{"a":{"x":1}}}}"#.to_owned(), true));
        assert!(!text(&carry(4_000)).1);
    }

    #[test]
    fn copies_of_copies_end() {
        let mut operations = vec![json!({"op":"add","path":"/a","value":{"x":"y".repeat(100)}})];
        let copy = |at: usize| json!({"op":"copy","from":"/a","path":format!("/a/{at}x")});
        operations.extend((0..10).map(copy));
        assert!(patch(&operations.clone().into())["a"]["9x"].is_object());
        operations.extend((10..100).map(copy));
        assert_eq!(patch(&operations.into()), json!({}));
    }

    #[test]
    fn what_the_api_server_refuses_is_not_looked_at() {
        let one = json!({"op":"add","path":"/a","value":1});
        assert_eq!(patch(&vec![one.clone(); OPERATIONS_MAX].into()), json!({"a":1}));
        assert_eq!(patch(&vec![one; OPERATIONS_MAX + 1].into()), json!({}));
        let deep = json!([{"op":"add","path":"/a".repeat(DEPTH_MAX + 1),"value":1}]);
        assert_eq!(patch(&deep), json!({}));
    }
}
