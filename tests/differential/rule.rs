//! Random rules, as a tree that the known differences can be asked about, and as the text that
//! both engines read. JSON is YAML, so the text is JSON.

use serde_json::{Map, Value, json};

use crate::random::Random;
use crate::words::{self, AUDIT, PLAIN};

/// One line of a detection.
#[derive(Debug, Clone)]
pub struct Item {
    /// `None`: keywords. Inside of a block, the path from the event on.
    pub field: Option<String>,
    pub modifiers: Vec<&'static str>,
    pub values: Vec<Value>,
}

impl Item {
    pub fn is(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(Value::as_str)
    }
}

/// A rule, perhaps with a filter behind it.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub text: String,
    pub items: Vec<Item>,
    /// The patterns of `1 of x*` in the rule and in the filter.
    pub patterns: Vec<String>,
    pub filter_patterns: Vec<String>,
    pub filtered: bool,
}

pub fn rule(random: &mut Random, audit: bool) -> Rule {
    let mut rule = Rule::default();
    let blocks = random.percent(20);
    let mut document = json!({
        "title": "R", "id": "r", "name": "rule", "logsource": {"product": "kubernetes"},
    });
    if blocks {
        document["sigma-version"] = json!(3);
    }
    let mut writer = Writer { random, audit, blocks, items: Vec::new() };
    let (detection, patterns) = writer.detection();
    document["detection"] = detection;
    rule.patterns = patterns;
    rule.text = document.to_string();
    if writer.random.percent(15) {
        let (mut filter, patterns) = writer.detection();
        filter["rules"] =
            writer.random.pick(&[json!(["r"]), json!("any"), json!(["r", "x"])]).clone();
        let mut document = json!({"title": "F", "filter": filter});
        if writer.random.percent(50) {
            document["logsource"] = writer.random.pick(&[
                json!({"product": "kubernetes"}),
                json!({"product": "Kubernetes"}),
                json!({"product": "windows"}),
            ]);
        }
        if blocks {
            document["sigma-version"] = json!(3);
        }
        rule.filter_patterns = patterns;
        rule.filtered = true;
        rule.text = format!("{}\n---\n{document}", rule.text);
    }
    rule.items = writer.items;
    rule
}

struct Writer<'w> {
    random: &'w mut Random,
    audit: bool,
    blocks: bool,
    items: Vec<Item>,
}

const NAMES: [&str; 5] = ["selection_a", "selection_b", "filter_main", "keywords", "_hidden"];

impl Writer<'_> {
    /// Search identifiers and a condition over them, and the patterns in the condition.
    fn detection(&mut self) -> (Value, Vec<String>) {
        let count = 1 + self.random.below(3);
        let mut names: Vec<&str> = NAMES.to_vec();
        let mut detection = Map::new();
        let mut used = Vec::new();
        for _ in 0..count {
            let name = names.remove(self.random.below(names.len()));
            detection.insert(name.to_owned(), self.search());
            used.push(name);
        }
        let mut patterns = Vec::new();
        let condition = if self.random.percent(10) {
            (0..2).map(|_| json!(self.condition(&used, 1, &mut patterns))).collect()
        } else {
            json!(self.condition(&used, 2, &mut patterns))
        };
        detection.insert("condition".to_owned(), condition);
        (Value::Object(detection), patterns)
    }

    fn condition(&mut self, names: &[&str], depth: usize, patterns: &mut Vec<String>) -> String {
        if depth == 0 || self.random.percent(25) {
            if self.random.percent(70) {
                return self.random.pick(names).to_owned();
            }
            let quantifier = self.random.pick(&["1", "all", "any", "2"]);
            let over = self.random.pick(&[
                "them",
                "selection*",
                "selection_*",
                "*_main",
                "s*a",
                "*",
                "*e*",
                "s*_*a",
                "nothing*",
            ]);
            patterns.push(over.to_owned());
            return format!("{quantifier} of {over}");
        }
        let mut part = |it: &mut Self| it.condition(names, depth - 1, patterns);
        match self.random.below(5) {
            0 => format!("not {}", parenthesised(part(self))),
            1 => format!("({})", part(self)),
            2 => format!("{} or {}", part(self), part(self)),
            3 => format!("{} and not {}", part(self), parenthesised(part(self))),
            _ => format!("{} and {}", part(self), part(self)),
        }
    }

    fn search(&mut self) -> Value {
        match self.random.below(12) {
            0 => self.keywords(),
            1 | 2 => (0..1 + self.random.below(2)).map(|_| self.map()).collect(),
            _ => self.map(),
        }
    }

    fn keywords(&mut self) -> Value {
        let count = 1 + self.random.below(3);
        let values: Vec<Value> = (0..count).map(|_| self.wild()).collect();
        let all = count > 1 && self.random.percent(30);
        let modifiers = if all { vec!["all"] } else { Vec::new() };
        self.items.push(Item { field: None, modifiers, values: values.clone() });
        if all { json!({"|all": values}) } else { Value::Array(values) }
    }

    fn map(&mut self) -> Value {
        let mut map = Map::new();
        for _ in 0..1 + self.random.below(3) {
            if self.blocks && self.random.percent(50) {
                let (key, value) = self.block();
                map.insert(key, value);
            } else {
                let fields = if self.audit { AUDIT } else { PLAIN };
                let field = self.random.pick(fields);
                let (key, value) = self.item(field, field);
                map.insert(key, value);
            }
        }
        Value::Object(map)
    }

    /// Tests for one and the same member of a list.
    fn block(&mut self) -> (String, Value) {
        let (array, inner): (&str, &[&str]) = if self.audit {
            self.random.pick(&[
                ("requestObject.spec.containers", &["image", "args"] as &[&str]),
                ("requestObject.rules", &["verbs"]),
                ("user.groups", &[]),
                ("sourceIPs", &[]),
            ])
        } else {
            self.random.pick(&[("o", &["x", "y"] as &[&str]), ("l", &[]), ("c.d", &[])])
        };
        let quantifier = self.random.pick(&["any", "all", "all_or_empty", "none", "0", "-1"]);
        let key = format!("{array}[{quantifier}]");
        if inner.is_empty() || quantifier.parse::<i64>().is_ok() {
            let inner = inner.first().map(|it| format!(".{it}")).unwrap_or_default();
            return self.item(&format!("{key}{inner}"), &format!("{array}{inner}"));
        }
        let mut body = Map::new();
        if self.random.percent(25) {
            for name in ["one", "two"] {
                let field = self.random.pick(inner);
                let (key, value) = self.item(field, &format!("{array}.{field}"));
                body.insert(name.to_owned(), json!({key: value}));
            }
            let condition = self.random.pick(&[
                "one and not two",
                "one or two",
                "not 1 of them",
                "one and two",
            ]);
            body.insert("condition".to_owned(), json!(condition));
        } else {
            for field in inner {
                let (key, value) = self.item(field, &format!("{array}.{field}"));
                body.insert(key, value);
            }
        }
        (key, Value::Object(body))
    }

    fn item(&mut self, written: &str, path: &str) -> (String, Value) {
        let (modifiers, values) = self.test();
        let key = [vec![written], modifiers.clone()].concat().join("|");
        let value = if values.len() == 1 && self.random.percent(80) {
            values[0].clone()
        } else {
            Value::Array(values.clone())
        };
        self.items.push(Item { field: Some(path.to_owned()), modifiers, values });
        (key, value)
    }

    /// Modifiers, and values that they may stand before.
    fn test(&mut self) -> (Vec<&'static str>, Vec<Value>) {
        let random = &mut *self.random;
        let mut modifiers: Vec<&'static str> = Vec::new();
        let count = 1 + usize::from(random.percent(40)) + usize::from(random.percent(15));
        let values: Vec<Value> = match random.below(100) {
            0..35 => (0..count).map(|_| self.plain()).collect(),
            35..60 => {
                modifiers.push(random.pick(&["contains", "startswith", "endswith"]));
                (0..count).map(|_| self.wild()).collect()
            }
            60..67 => {
                modifiers.push("re");
                let flags: &[&str] =
                    random.pick(&[&[] as &[&str], &[], &["i"], &["s"], &["m", "i"]]);
                modifiers.extend(flags);
                let patterns =
                    ["^get$", "a.c", "[0-9]+", "^$", "(?:admin|list)", "s.c?ret", r"\\c", "^a$"];
                (0..count).map(|_| json!(self.random.pick(&patterns))).collect()
            }
            67..72 => {
                modifiers.push("cidr");
                let networks =
                    ["10.0.0.0/8", "10.1.2.3/32", "192.168.0.0/16", "0.0.0.0/0", "fe80::/10"];
                (0..count).map(|_| json!(self.random.pick(&networks))).collect()
            }
            72..77 => {
                modifiers.push("exists");
                return (modifiers, vec![json!(random.percent(50))]);
            }
            77..84 => {
                modifiers.push(random.pick(&["lt", "lte", "gt", "gte"]));
                let limits =
                    [json!(0), json!(42), json!(4.2), json!("42"), json!(-7.5), json!(403)];
                (0..count).map(|_| self.random.pick(&limits)).collect()
            }
            84..90 => {
                modifiers.push("fieldref");
                let place: &[&str] = random.pick(&[
                    &[] as &[&str],
                    &[],
                    &["contains"],
                    &["startswith"],
                    &["endswith"],
                ]);
                modifiers.extend(place);
                let fields = if self.audit { AUDIT } else { PLAIN };
                (0..count).map(|_| json!(self.random.pick(fields))).collect()
            }
            90..92 => {
                modifiers.push("windash");
                if random.percent(60) {
                    modifiers.push("contains");
                }
                let options = ["-enc", "x -enc", "/c", "a-b", "-a -b", "\u{2013}enc"];
                (0..count).map(|_| json!(self.random.pick(&options))).collect()
            }
            92..97 => {
                let chain: &[&str] = random.pick(&[
                    &["base64"] as &[&str],
                    &["base64", "contains"],
                    &["base64offset", "contains"],
                    &["wide", "base64"],
                    &["utf16", "base64", "startswith"],
                    &["utf16be", "base64"],
                    &["utf16le", "base64offset", "contains"],
                ]);
                modifiers.extend(chain);
                (0..count)
                    .map(|_| json!(self.random.pick(&["secret", "s", "se", "get", "Ä"])))
                    .collect()
            }
            _ => {
                modifiers.push(random.pick(&["minute", "hour", "day", "week", "month", "year"]));
                let numbers = [json!(30), json!(12), json!(10), json!(28), json!("7"), json!(2024)];
                (0..count).map(|_| self.random.pick(&numbers)).collect()
            }
        };
        let text = modifiers
            .iter()
            .all(|it| ["contains", "startswith", "endswith", "fieldref"].contains(it));
        if text && self.random.percent(12) {
            modifiers.push("cased");
        }
        if values.len() > 1 && self.random.percent(25) {
            modifiers.push("all");
        }
        if self.random.percent(8) {
            modifiers.push("neq");
        }
        (modifiers, values)
    }

    /// Any value that may stand without a modifier.
    fn plain(&mut self) -> Value {
        match self.random.below(100) {
            0..70 => self.wild(),
            70..84 => words::number(self.random),
            84..92 => json!(self.random.percent(50)),
            _ => Value::Null,
        }
    }

    /// A text, sometimes in another case, with wildcards or with escapes.
    fn wild(&mut self) -> Value {
        let mut text = words::text(self.random).to_owned();
        match self.random.below(20) {
            0 => text = text.to_uppercase(),
            1 => text = text.replace('a', "?"),
            2 => text.insert(0, '*'),
            3 => text.push('*'),
            4 => text = format!("*{text}*"),
            5 => text = text.replace('e', "*"),
            6 => text = text.replace('*', r"\*").replace('?', r"\?"),
            7 => text = text.replace('\\', r"\\"),
            8 => text = "*".to_owned(),
            9 => text = text.chars().take(2).collect(),
            _ => {}
        }
        json!(text)
    }
}

fn parenthesised(condition: String) -> String {
    if condition.contains(' ') { format!("({condition})") } else { condition }
}
