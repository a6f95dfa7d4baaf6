//! A rule file's text in, its entries out: what YAML makes of each, and its lines.
//!
//! Scalars stay as they are written: `1.10` is a text here and no number, as it is for
//! Falco. The YAML parser tells no lines, so they are found beside it: an entry begins
//! where a `-` stands as far left as the first one of its document.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use yaml_serde::Value;

use super::fault::FalcoFault;

/// More entries than this in one file are no rule file.
pub(in crate::rules) const ENTRIES_MAX: usize = 20_000;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Node::Mapping(members) = self else {
            return None;
        };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
}

/// One entry of the file: a list, macro, rule or requirement.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) node: Node,
    file: Arc<Path>,
    /// The line it starts on, from 1.
    line: u32,
    /// Its text; empty when it could not be found.
    lines: &'t [&'t str],
}

impl Entry<'_> {
    pub(super) fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line }
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|it| [*it, "\n"]).collect()
    }

    /// The place of one of its keys; its own when the key cannot be found.
    pub(super) fn key(&self, key: &str) -> Place {
        let column = self.lines.first().map_or(0, |it| column(it));
        let is_key = |line: &&str| {
            let after = line.get(column..).unwrap_or_default();
            let after = after.trim_start_matches(['"', '\'']);
            after.strip_prefix(key).is_some_and(|it| it.starts_with([':', '"', '\'']))
        };
        self.nth(self.lines.iter().position(is_key))
    }

    /// The place of the last line that holds all the words; its own when none does.
    pub(super) fn line_with(&self, words: &[&str]) -> Place {
        self.nth(self.lines.iter().rposition(|line| words.iter().all(|it| line.contains(it))))
    }

    fn nth(&self, at: Option<usize>) -> Place {
        let lines = at.and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
        Place { file: self.file.clone(), line: self.line.saturating_add(lines) }
    }
}

/// Where the first key of an entry stands.
fn column(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// What is wrong with the file as such, and on which line.
pub(super) type FileFault = (u32, FalcoFault);

/// The entries of every document of the file. `lines` are those of the text.
pub(super) fn entries<'t>(
    file: &Arc<Path>,
    text: &str,
    lines: &'t [&'t str],
) -> Result<Vec<Entry<'t>>, FileFault> {
    let broken = |error: yaml_serde::Error| {
        let line = error.location().map_or(1, |it| number(it.line().saturating_sub(1)));
        (line, FalcoFault::Yaml(message(&error)))
    };
    let mut shapes = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        shapes.push(Value::deserialize(document).map_err(broken)?);
    }
    let mut found = Vec::new();
    let mut documents = documents(lines).into_iter();
    for (shape, document) in shapes.iter().zip(yaml_serde::Deserializer::from_str(text)) {
        let node = Shaped(shape).deserialize(document).map_err(broken)?;
        if node == Node::Null {
            continue;
        }
        let starts = documents.next().unwrap_or_default();
        let Node::Sequence(nodes) = node else {
            return Err((number(starts.first().copied().unwrap_or(0)), FalcoFault::NoList));
        };
        if found.len() + nodes.len() > ENTRIES_MAX {
            return Err((1, FalcoFault::Entries));
        }
        let known = starts.len() == nodes.len() + 2;
        for (at, node) in nodes.into_iter().enumerate() {
            let span = starts.get(at + 1).zip(starts.get(at + 2)).filter(|_| known);
            let from = span.map_or(0, |(from, _)| *from);
            let lines = span.and_then(|(from, to)| lines.get(*from..*to)).unwrap_or_default();
            found.push(Entry { node, file: file.clone(), line: number(from), lines });
        }
    }
    Ok(found)
}

fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// The parser's words without the place, which is told beside them.
fn message(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// Per document that holds anything, the index of its first line, that of the line each
/// entry starts on, and that of the line behind the last.
fn documents(lines: &[&str]) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut indent = None;
    let mut content = false;
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("---") || line.trim_end() == "..." {
            close(&mut found, std::mem::take(&mut starts), content.then_some(at));
            (indent, content) = (None, false);
            continue;
        }
        let inner = line.trim_start_matches(' ');
        if inner.trim().is_empty() || inner.starts_with(['#', '%']) {
            continue;
        }
        if !content {
            content = true;
            starts.push(at);
        }
        let dash = inner.strip_prefix('-').is_some_and(|it| it.is_empty() || it.starts_with(' '));
        let depth = line.len() - inner.len();
        if dash && depth == *indent.get_or_insert(depth) {
            starts.push(at);
        }
    }
    close(&mut found, starts, content.then_some(lines.len()));
    found
}

fn close(found: &mut Vec<Vec<usize>>, mut starts: Vec<usize>, end: Option<usize>) {
    if let Some(end) = end {
        starts.push(end);
        found.push(starts);
    }
}

/// Reads once more what [`Value`] read, scalars as they are written.
struct Shaped<'s>(&'s Value);

impl<'de> DeserializeSeed<'de> for Shaped<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Value::Null => {
                deserializer.deserialize_ignored_any(serde::de::IgnoredAny).map(|_| Node::Null)
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                deserializer.deserialize_str(self)
            }
            Value::Sequence(_) => deserializer.deserialize_seq(self),
            Value::Mapping(_) => deserializer.deserialize_map(self),
            Value::Tagged(_) => {
                Err(serde::de::Error::custom("YAML tags (\"!name\") have no meaning in rules"))
            }
        }
    }
}

impl<'de> Visitor<'de> for Shaped<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was there before")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Scalar(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        for shape in self.0.as_sequence().into_iter().flatten() {
            nodes.extend(members.next_element_seed(Shaped(shape))?);
        }
        Ok(Node::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        for (name, shape) in self.0.as_mapping().into_iter().flatten() {
            let Some(Node::Scalar(name)) = members.next_key_seed(Shaped(name))? else {
                return Err(serde::de::Error::custom("a key is no text"));
            };
            nodes.push((name, members.next_value_seed(Shaped(shape))?));
        }
        Ok(Node::Mapping(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u32, String)>, FileFault> {
        let lines: Vec<&str> = text.lines().collect();
        let file = Arc::from(Path::new("f.yaml"));
        let entries = entries(&file, text, &lines)?;
        Ok(entries.iter().map(|it| (it.line, format!("{:?}", it.node))).collect())
    }

    #[test]
    fn entries_know_their_lines_and_keep_scalars_as_written() {
        let text = "# c\n---\n- list: a\n  items: [1.10, 0x1F, yes, ~, 'q']\n\n- rule: b\n  desc: >\n    - rule: none\n  condition: x\n---\n# nothing\n---\n  - macro: c\n    condition: &c y\n  - macro: d\n    condition: *c\n";
        let lines: Vec<&str> = text.lines().collect();
        let found = entries(&Arc::from(Path::new("f.yaml")), text, &lines).unwrap();
        let lines: Vec<u32> = found.iter().map(|it| it.line).collect();
        assert_eq!(lines, [3, 6, 13, 15]);
        let scalar = |text: &str| Node::Scalar(text.to_owned());
        let items = found[0].node.get("items").unwrap();
        let want = vec![scalar("1.10"), scalar("0x1F"), scalar("yes"), Node::Null, scalar("q")];
        assert_eq!(*items, Node::Sequence(want));
        assert_eq!(found[1].key("condition").line, 9);
        assert_eq!(found[3].node.get("condition"), Some(&scalar("y")));
        assert_eq!((found[1].key("nowhere").line, found[1].line_with(&["none"]).line), (6, 8));
    }

    #[test]
    fn what_is_no_list_of_entries_is_refused() {
        assert!(matches!(read("a: b\n"), Err((1, FalcoFault::NoList))));
        assert!(matches!(read("- a: b\n c: d\n"), Err((2, FalcoFault::Yaml(_)))));
        assert!(matches!(read("- a: !x b\n"), Err((_, FalcoFault::Yaml(_)))));
        assert!(matches!(read("- {a: b, a: c}\n"), Err((_, FalcoFault::Yaml(_)))));
        assert_eq!(read("# nothing\n"), Ok(Vec::new()));
        let many = "- a\n".repeat(ENTRIES_MAX + 1);
        assert!(matches!(read(&many), Err((1, FalcoFault::Entries))));
        assert_eq!(read("- a\n").unwrap(), [(1, "Scalar(\"a\")".to_owned())]);
    }
}
