//! A JSON patch (RFC 6902) as the object that its operations write.
//!
//! What the patch is applied to is not known, so the object is a partial one: it has
//! what the operations write, at its place, and nothing else. Members of an array are
//! those the operations touch, in the order in which they were first touched. Who
//! splits one container over several operations, or carries it in by a detour with
//! `copy` and `move`, is seen as well.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The API server refuses a patch with more operations.
pub(super) const OPERATIONS_MAX: usize = 10_000;

/// What lies deeper is left out: no field of a rule goes there, as a path has at most
/// half as many keys and every second one may be a place in an array.
pub(super) const DEPTH_MAX: usize = 64;

/// What a patch writes. `None` when it has more than [`OPERATIONS_MAX`] operations.
pub(super) fn written(operations: &[Value]) -> Option<Value> {
    if operations.len() > OPERATIONS_MAX {
        return None;
    }
    let mut root = Node::Unknown;
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let place = |key: &str| text(key).map(pointer).filter(|it| it.len() <= DEPTH_MAX);
        let Some(path) = place("path") else {
            continue;
        };
        let value = || operation.get("value").map(Node::of).unwrap_or_default();
        let from = place("from");
        match text("op") {
            Some("add") => root.set(&path, value(), Write::Insert),
            Some("replace") => root.set(&path, value(), Write::Replace),
            Some("remove") => drop(root.take(&path)),
            Some("move") => {
                let moved = from.and_then(|it| root.take(&it)).unwrap_or_default();
                root.set(&path, moved, Write::Insert);
            }
            Some("copy") => {
                let copied = from.and_then(|it| root.get(&it).cloned()).unwrap_or_default();
                root.set(&path, copied, Write::Insert);
            }
            _ => {}
        }
    }
    Some(root.value())
}

/// The keys of a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Vec<String> {
    text.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~")).collect()
}

/// What is known of a value.
#[derive(Debug, Clone, Default)]
enum Node {
    /// It is there.
    #[default]
    Unknown,
    Leaf(Value),
    Object(BTreeMap<String, Node>),
    /// Members that are known of, each with its index where that is known.
    Array(Vec<(Option<usize>, Node)>),
}

/// How a value gets to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// A member of an array pushes the ones behind it further.
    Insert,
    Replace,
}

impl Node {
    fn of(value: &Value) -> Node {
        match value {
            Value::Object(members) => Node::Object(
                members.iter().map(|(key, value)| (key.clone(), Node::of(value))).collect(),
            ),
            Value::Array(members) => {
                let members = members.iter().enumerate();
                Node::Array(members.map(|(at, it)| (Some(at), Node::of(it))).collect())
            }
            leaf => Node::Leaf(leaf.clone()),
        }
    }

    fn value(self) -> Value {
        match self {
            Node::Unknown => Value::Object(Map::new()),
            Node::Leaf(value) => value,
            Node::Object(members) => {
                Value::Object(members.into_iter().map(|(key, it)| (key, it.value())).collect())
            }
            Node::Array(members) => {
                Value::Array(members.into_iter().map(|(_, it)| it.value()).collect())
            }
        }
    }

    /// Puts a value at a place.
    fn set(&mut self, path: &[String], value: Node, write: Write) {
        let Some((key, below)) = path.split_first() else {
            *self = value;
            return;
        };
        self.open(key);
        match self {
            Node::Array(members) if below.is_empty() => {
                let at = index(key).flatten();
                if let (Write::Insert, Some(at)) = (write, at) {
                    shift(members, at, 1);
                }
                let known = at.and_then(|at| members.iter_mut().find(|(it, _)| *it == Some(at)));
                match known {
                    Some((_, member)) => *member = value,
                    None => members.push((at, value)),
                }
            }
            Node::Array(members) => member(members, index(key).flatten()).set(below, value, write),
            Node::Object(members) => {
                members.entry(key.clone()).or_default().set(below, value, write);
            }
            Node::Unknown | Node::Leaf(_) => {}
        }
    }

    /// Makes it a container that can hold `key`.
    fn open(&mut self, key: &str) {
        if matches!(self, Node::Unknown | Node::Leaf(_)) {
            *self = match index(key) {
                Some(_) => Node::Array(Vec::new()),
                None => Node::Object(BTreeMap::new()),
            };
        }
    }

    /// What is known of the value at a place.
    fn get(&self, path: &[String]) -> Option<&Node> {
        let Some((key, below)) = path.split_first() else {
            return Some(self);
        };
        match self {
            Node::Object(members) => members.get(key)?.get(below),
            Node::Array(members) => {
                let at = index(key)??;
                members.iter().find(|(it, _)| *it == Some(at))?.1.get(below)
            }
            Node::Unknown | Node::Leaf(_) => None,
        }
    }

    /// Takes away what is at a place, and gives what was known of it.
    fn take(&mut self, path: &[String]) -> Option<Node> {
        let (key, below) = path.split_first()?;
        match self {
            Node::Object(members) if below.is_empty() => members.remove(key),
            Node::Object(members) => members.get_mut(key)?.take(below),
            Node::Array(members) => {
                let at = index(key)??;
                let place = members.iter().position(|(it, _)| *it == Some(at));
                if !below.is_empty() {
                    return members.get_mut(place?)?.1.take(below);
                }
                let taken = place.map(|it| members.remove(it).1);
                shift(members, at + 1, -1);
                taken
            }
            Node::Unknown | Node::Leaf(_) => None,
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

/// The member at an index; it is made when nothing was known of it.
fn member(members: &mut Vec<(Option<usize>, Node)>, at: Option<usize>) -> &mut Node {
    let known = members.iter().position(|(it, _)| at.is_some() && *it == at);
    let place = known.unwrap_or(members.len());
    if known.is_none() {
        members.push((at, Node::Unknown));
    }
    #[expect(clippy::indexing_slicing, reason = "it was found, or pushed just now")]
    &mut members[place].1
}

/// Moves the indexes from `from` on by one place.
fn shift(members: &mut [(Option<usize>, Node)], from: usize, by: isize) {
    for at in members.iter_mut().filter_map(|(at, _)| at.as_mut()).filter(|at| **at >= from) {
        *at = at.saturating_add_signed(by);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(operations: &Value) -> Value {
        written(operations.as_array().unwrap()).unwrap()
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
    fn what_the_api_server_refuses_is_not_looked_at() {
        let one = json!({"op":"add","path":"/a","value":1});
        assert!(written(&vec![one.clone(); OPERATIONS_MAX]).is_some());
        assert!(written(&vec![one; OPERATIONS_MAX + 1]).is_none());
        let deep = json!([{"op":"add","path":"/a".repeat(DEPTH_MAX + 1),"value":1}]);
        assert_eq!(patch(&deep), json!({}));
    }
}
