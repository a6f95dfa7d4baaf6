//! Random rules, as a tree that the known differences can be asked about, and as the text that
//! both engines read. JSON is YAML, so the text is JSON.

use serde_json::{Map, Value, json};

use crate::random::Random;
use crate::words::{self, AUDIT, PLAIN};

/// One line of a detection.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// `None`: keywords. Inside of a block, the path from the event on.
    pub(crate) field: Option<String>,
    /// The list whose members the block it stands in judges.
    pub(crate) block: Option<String>,
    /// Whether it is a filter's.
    pub(crate) filters: bool,
    pub(crate) modifiers: Vec<&'static str>,
    pub(crate) values: Vec<Value>,
}

impl Item {
    pub(crate) fn is(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(Value::as_str)
    }
}

/// A rule, perhaps with a filter behind it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    pub(crate) text: String,
    pub(crate) items: Vec<Item>,
    pub(crate) searches: Searches,
    pub(crate) filter: Option<Searches>,
}

/// The search identifiers of a rule or filter, and the patterns of `1 of x*` over them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Searches {
    pub(crate) names: Vec<&'static str>,
    pub(crate) patterns: Vec<String>,
}

pub(crate) fn rule(random: &mut Random, audit: bool) -> Rule {
    let mut rule = Rule::default();
    let blocks = random.percent(20);
    let mut document = json!({
        "title": "R", "id": "r", "name": "rule", "logsource": {"product": "kubernetes"},
    });
    if blocks {
        document["sigma-version"] = json!(3);
    }
    let mut writer =
        Writer { random, selectors: 30, filtering: false, audit, blocks, items: Vec::new() };
    (document["detection"], rule.searches) = writer.detection();
    rule.text = document.to_string();
    if writer.random.percent(15) {
        (writer.selectors, writer.filtering) = (5, true);
        let (mut filter, searches) = writer.detection();
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
        rule.filter = Some(searches);
        rule.text = format!("{}\n---\n{document}", rule.text);
    }
    rule.items = writer.items;
    rule
}

struct Writer<'w> {
    random: &'w mut Random,
    /// How often, of a hundred times, a condition says `1 of`.
    selectors: usize,
    filtering: bool,
    audit: bool,
    blocks: bool,
    items: Vec<Item>,
}

const NAMES: [&str; 5] = ["selection_a", "selection_b", "filter_main", "keywords", "_hidden"];

impl Writer<'_> {
    /// Search identifiers and a condition over them.
    fn detection(&mut self) -> (Value, Searches) {
        let count = 1 + self.random.below(3);
        let mut names = NAMES.to_vec();
        let mut detection = Map::new();
        let mut used = Vec::new();
        for _ in 0..count {
            let name = names.remove(self.random.below(names.len()));
            detection.insert(name.to_owned(), self.search());
            used.push(name);
        }
        let mut patterns = Vec::new();
        // Of a filter's conditions the other engine reads the first alone.
        let condition = if !self.filtering && self.random.percent(10) {
            (0..2).map(|_| json!(self.condition(&used, 1, &mut patterns))).collect()
        } else {
            json!(self.condition(&used, 2, &mut patterns))
        };
        detection.insert("condition".to_owned(), condition);
        (Value::Object(detection), Searches { names: used, patterns })
    }

    fn condition(&mut self, names: &[&str], depth: usize, patterns: &mut Vec<String>) -> String {
        if depth == 0 || self.random.percent(25) {
            if !self.random.percent(self.selectors) {
                return self.random.pick(names).to_owned();
            }
            let quantifier = self.random.pick(&["1", "all", "any", "2"]);
            let over = if self.random.percent(4) {
                self.random.pick(&["*e*", "s*_*a"])
            } else {
                self.random.pick(&[
                    "them",
                    "selection*",
                    "selection_*",
                    "*_main",
                    "s*a",
                    "*",
                    "nothing*",
                ])
            };
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
        self.items.push(Item {
            field: None,
            block: None,
            filters: self.filtering,
            modifiers,
            values: values.clone(),
        });
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
        let before = self.items.len();
        let (array, key, value) = self.unmarked_block();
        self.items[before..].iter_mut().for_each(|it| it.block = Some(array.to_owned()));
        (key, value)
    }

    fn unmarked_block(&mut self) -> (&'static str, String, Value) {
        let (array, inner): (&'static str, &[&'static str]) = if self.audit {
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
            let (key, value) = self.item(&format!("{key}{inner}"), &format!("{array}{inner}"));
            return (array, key, value);
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
        (array, key, Value::Object(body))
    }

    fn item(&mut self, written: &str, path: &str) -> (String, Value) {
        let (modifiers, values) = self.test();
        let key = [vec![written], modifiers.clone()].concat().join("|");
        let value = if values.len() == 1 && self.random.percent(80) {
            values[0].clone()
        } else {
            Value::Array(values.clone())
        };
        self.items.push(Item {
            field: Some(path.to_owned()),
            block: None,
            filters: self.filtering,
            modifiers,
            values,
        });
        (key, value)
    }

    /// Modifiers, and values that they may stand before.
    #[expect(clippy::too_many_lines, reason = "a table of modifiers and their values")]
    fn test(&mut self) -> (Vec<&'static str>, Vec<Value>) {
        let random = &mut *self.random;
        let mut modifiers: Vec<&'static str> = Vec::new();
        let count = 1 + usize::from(random.percent(40)) + usize::from(random.percent(15));
        let values: Vec<Value> = match random.below(100) {
            0..35 => (0..count).map(|_| self.plain()).collect(),
            35..60 => {
                modifiers.push(random.pick(&["contains", "startswith", "endswith"]));
                let wild = modifiers == ["contains"] || random.percent(10);
                (0..count).map(|_| if wild { self.wild() } else { self.tame() }).collect()
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
                let options = ["-enc", "-c", "-a", "-", "-x", "-enc", "/c", "a-b"];
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

    /// A text without wildcards.
    fn tame(&mut self) -> Value {
        let text = words::text(self.random).replace(['*', '?'], "");
        json!(text.chars().take(2 + self.random.below(8)).collect::<String>())
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
