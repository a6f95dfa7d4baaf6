//! An entry of a file in, what it asks for out: a definition, an addition or a replacement.
//!
//! It knows nothing of other entries; `collect` puts them together.

use super::document::{Entry, Node, Place};
use super::exception::{self, Exception};
use super::fault::FalcoFault;
use super::priority::Priority;
use super::require;

/// What one entry asks for.
#[derive(Debug)]
pub(super) enum Request {
    List {
        items: Vec<String>,
        append: bool,
    },
    Macro {
        condition: Text,
        append: bool,
    },
    Define(Box<Definition>),
    /// Additions come before replacements.
    Update {
        source: String,
        append: Option<Box<Update>>,
        replace: Option<Box<Update>>,
    },
    Enable(bool),
    /// A requirement, checked already.
    Nothing,
}

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A rule as one entry defines it.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) condition: Text,
    pub(super) output: Text,
    pub(super) description: String,
    pub(super) priority: Priority,
    pub(super) source: String,
    pub(super) tags: Vec<String>,
    pub(super) exceptions: Vec<Exception>,
    pub(super) enabled: bool,
    pub(super) skip_if_unknown_filter: bool,
}

/// What is to change in a rule that is there.
#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) condition: Option<Text>,
    pub(super) output: Option<Text>,
    pub(super) description: Option<String>,
    pub(super) priority: Option<Priority>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) exceptions: Option<Vec<Exception>>,
    pub(super) enabled: Option<bool>,
    pub(super) skip_if_unknown_filter: Option<bool>,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    List,
    Macro,
    Rule,
    Other,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::List => "list",
            Kind::Macro => "macro",
            Kind::Rule => "rule",
            Kind::Other => "entry",
        }
    }
}

/// The kind of an entry, and its name as far as it has one.
pub(super) fn subject(entry: &Entry<'_>) -> (Kind, String) {
    let kinds = [("list", Kind::List), ("macro", Kind::Macro), ("rule", Kind::Rule)];
    for (key, kind) in kinds {
        if let Some(name) = entry.node.get(key) {
            let name = if let Node::Scalar(name) = name { name.clone() } else { String::new() };
            return (kind, name);
        }
    }
    (Kind::Other, String::new())
}

type Found<T> = Result<T, Blame>;

/// What is wrong, and where.
pub(super) type Blame = (Place, FalcoFault);

/// Reads an entry. Warnings stand also when it fails.
pub(super) fn read(entry: &Entry<'_>, warnings: &mut Vec<Blame>) -> Found<Request> {
    if !matches!(entry.node, Node::Mapping(_)) {
        return Err((entry.place(), FalcoFault::NoMapping));
    }
    let mut reader = Reader { entry, warnings };
    if entry.node.get("required_engine_version").is_some() {
        require::engine(entry)?;
        reader.unknown_keys(&["required_engine_version"]);
        Ok(Request::Nothing)
    } else if entry.node.get("required_plugin_versions").is_some() {
        require::plugins(entry)?;
        reader.unknown_keys(&["required_plugin_versions"]);
        Ok(Request::Nothing)
    } else if entry.node.get("list").is_some() {
        reader.list()
    } else if entry.node.get("macro").is_some() {
        reader.macro_()
    } else if entry.node.get("rule").is_some() {
        reader.rule()
    } else {
        reader.warnings.push((entry.place(), FalcoFault::UnknownEntry));
        Ok(Request::Nothing)
    }
}

/// Keys of a rule that can be added to.
const APPENDABLE: [&str; 5] = ["condition", "output", "desc", "tags", "exceptions"];

/// Keys of a rule that can be replaced.
const REPLACEABLE: [&str; 11] = [
    "condition",
    "output",
    "desc",
    "priority",
    "capture",
    "capture_duration",
    "tags",
    "exceptions",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
];

struct Reader<'r> {
    entry: &'r Entry<'r>,
    warnings: &'r mut Vec<Blame>,
}

impl Reader<'_> {
    fn blame<T>(&self, key: &str, fault: FalcoFault) -> Found<T> {
        Err((self.entry.key(key), fault))
    }

    fn warn(&mut self, key: &str, fault: FalcoFault) {
        self.warnings.push((self.entry.key(key), fault));
    }

    fn list(&mut self) -> Found<Request> {
        let name = self.text("list")?;
        if name.is_empty() || name.contains(super::lexer::ends_bare) {
            self.warn("list", FalcoFault::ListName);
        }
        let items = match self.strings("items")? {
            Some(items) => items,
            None => return self.blame("list", FalcoFault::Missing("items")),
        };
        let append = self.appends("items")?;
        self.unknown_keys(&["list", "items", "append", "override"]);
        Ok(Request::List { items, append })
    }

    fn macro_(&mut self) -> Found<Request> {
        let name = self.text("macro")?;
        if super::lexer::identifier(&name) != Some(name.len()) {
            self.warn("macro", FalcoFault::MacroName);
        }
        let condition = self.placed("condition")?;
        let append = self.appends("condition")?;
        self.unknown_keys(&["macro", "condition", "append", "override"]);
        Ok(Request::Macro { condition, append })
    }

    /// Whether a list or macro is to be added to, by either way to say so.
    fn appends(&mut self, key: &'static str) -> Found<bool> {
        let (append, replace) = self.overrides(&[key], &[key])?;
        let flag = self.append_flag()?;
        if flag && !(append.is_empty() && replace.is_empty()) {
            return self.blame("override", FalcoFault::OverrideAndAppend);
        }
        Ok(flag || !append.is_empty())
    }

    fn append_flag(&mut self) -> Found<bool> {
        let append = self.flag("append")?.unwrap_or(false);
        if append {
            self.warn("append", FalcoFault::AppendDeprecated);
        }
        Ok(append)
    }

    fn rule(&mut self) -> Found<Request> {
        self.text("rule")?;
        let flag = self.append_flag()?;
        let (append, replace) = self.overrides(&APPENDABLE, &REPLACEABLE)?;
        let overrides = !(append.is_empty() && replace.is_empty());
        let defines = ["condition", "output", "desc", "priority"];
        let request = if flag && overrides {
            return self.blame("override", FalcoFault::OverrideAndAppend);
        } else if overrides {
            self.overridden(&append, &replace)?
        } else if flag {
            self.appended()?
        } else if defines.iter().any(|it| self.entry.node.get(it).is_some()) {
            Request::Define(Box::new(self.definition()?))
        } else {
            let Some(enabled) = self.flag("enabled")? else {
                return self.blame("rule", FalcoFault::Missing("enabled"));
            };
            self.warn("enabled", FalcoFault::EnabledDeprecated);
            Request::Enable(enabled)
        };
        self.unknown_keys(&["rule", "source", "append", "override"]);
        Ok(request)
    }

    fn definition(&mut self) -> Found<Definition> {
        let condition = self.placed("condition")?;
        let mut output = self.placed("output")?;
        output.text = output.text.trim().to_owned();
        let description = self.text("desc")?;
        let priority = self.priority()?;
        let source = match self.entry.node.get("source") {
            None => "syscall".to_owned(),
            Some(_) => self.text("source")?,
        };
        self.check_unused()?;
        Ok(Definition {
            condition,
            output,
            description,
            priority,
            source,
            tags: self.strings("tags")?.unwrap_or_default(),
            exceptions: self.exceptions(false)?,
            enabled: self.flag("enabled")?.unwrap_or(true),
            skip_if_unknown_filter: self.flag("skip-if-unknown-filter")?.unwrap_or(false),
        })
    }

    /// Keys that mean something to Falco alone, and must have the right form all the same.
    fn check_unused(&self) -> Found<()> {
        self.flag("capture")?;
        self.flag("warn_evttypes")?;
        match self.optional("capture_duration")? {
            Some(text) if text.parse::<u32>().is_err() => {
                self.blame("capture_duration", FalcoFault::Kind("capture_duration", "number"))
            }
            _ => Ok(()),
        }
    }

    /// `append: true`: conditions and exceptions alone are added.
    fn appended(&mut self) -> Found<Request> {
        let given = |key: &str| self.entry.node.get(key).is_some();
        let condition = if given("condition") { Some(self.placed("condition")?) } else { None };
        let exceptions = if given("exceptions") { Some(self.exceptions(true)?) } else { None };
        for key in REPLACEABLE {
            if key != "condition" && key != "exceptions" && self.entry.node.get(key).is_some() {
                self.warn(key, FalcoFault::Ignored(key));
            }
        }
        if condition.is_none() && exceptions.is_none() {
            return self.blame("append", FalcoFault::NothingAppended);
        }
        let update = Update { condition, exceptions, ..Update::default() };
        let append = Some(Box::new(update));
        Ok(Request::Update { source: self.source()?, append, replace: None })
    }

    fn overridden(&mut self, append: &[&'static str], replace: &[&'static str]) -> Found<Request> {
        for (operation, keys) in [("append", append), ("replace", replace)] {
            for key in keys {
                // A key has one value, which cannot be added and put in place of another.
                let taken = operation == "replace" && append.contains(key);
                if taken || self.entry.node.get(key).is_none() {
                    let fault = FalcoFault::NothingToOverride { operation, key };
                    return self.blame("override", fault);
                }
            }
        }
        let stray = |key: &&&'static str| {
            self.entry.node.get(key).is_some() && !append.contains(key) && !replace.contains(key)
        };
        if let Some(key) = REPLACEABLE.iter().find(stray) {
            return self.blame(key, FalcoFault::UnexpectedKey(key));
        }
        let source = self.source()?;
        let append = self.update(append, true)?;
        let replace = self.update(replace, false)?;
        Ok(Request::Update { source, append, replace })
    }

    fn update(&mut self, keys: &[&'static str], append: bool) -> Found<Option<Box<Update>>> {
        let mut update = Update::default();
        for key in keys {
            match *key {
                "condition" => update.condition = Some(self.placed("condition")?),
                "output" => update.output = Some(self.placed("output")?),
                "desc" => update.description = Some(self.text("desc")?),
                "priority" => update.priority = Some(self.priority()?),
                "tags" => update.tags = self.strings("tags")?,
                "exceptions" => update.exceptions = Some(self.exceptions(append)?),
                "enabled" => update.enabled = Some(self.given_flag("enabled")?),
                "skip-if-unknown-filter" => {
                    update.skip_if_unknown_filter =
                        Some(self.given_flag("skip-if-unknown-filter")?);
                }
                _ => self.check_unused()?,
            }
        }
        Ok((!keys.is_empty()).then(|| Box::new(update)))
    }

    /// The keys to append to and those to replace.
    fn overrides(
        &self,
        appendable: &[&'static str],
        replaceable: &[&'static str],
    ) -> Found<(Vec<&'static str>, Vec<&'static str>)> {
        let (mut append, mut replace) = (Vec::new(), Vec::new());
        let members = match self.entry.node.get("override") {
            None | Some(Node::Null) => return Ok((append, replace)),
            Some(Node::Mapping(members)) => members,
            Some(_) => {
                return self.blame("override", FalcoFault::Kind("override", "mapping of keys"));
            }
        };
        for (key, operation) in members {
            let known = |keys: &[&'static str]| keys.iter().find(|it| **it == key).copied();
            let operation = match operation {
                Node::Scalar(text) => text.as_str(),
                _ => "",
            };
            let place = self.entry.line_with(&[key, operation]);
            match (operation, known(appendable), known(replaceable)) {
                ("append", Some(key), _) => append.push(key),
                ("append", None, _) => return Err((place, FalcoFault::NotAppendable(key.clone()))),
                ("replace", _, Some(key)) => replace.push(key),
                ("replace", _, None) => {
                    return Err((place, FalcoFault::NotReplaceable(key.clone())));
                }
                _ => {
                    let operation = operation.to_owned();
                    return Err((place, FalcoFault::Operation { key: key.clone(), operation }));
                }
            }
        }
        Ok((append, replace))
    }

    fn exceptions(&mut self, append: bool) -> Found<Vec<Exception>> {
        exception::read(self.entry, append, self.warnings)
    }

    fn priority(&self) -> Found<Priority> {
        let text = self.text("priority")?;
        match Priority::parse(&text) {
            Some(priority) => Ok(priority),
            None => self.blame("priority", FalcoFault::Priority(text)),
        }
    }

    /// The source that an addition names; none is as good as the right one.
    fn source(&self) -> Found<String> {
        match self.entry.node.get("source") {
            None | Some(Node::Null) => Ok(String::new()),
            Some(Node::Scalar(text)) => Ok(text.clone()),
            Some(_) => self.blame("source", FalcoFault::Kind("source", "text")),
        }
    }

    fn placed(&self, key: &'static str) -> Found<Text> {
        Ok(Text { text: self.text(key)?, place: self.entry.key(key) })
    }

    fn text(&self, key: &'static str) -> Found<String> {
        match self.optional(key)? {
            Some(text) => Ok(text.to_owned()),
            None => self.blame(key, FalcoFault::Missing(key)),
        }
    }

    fn optional(&self, key: &'static str) -> Found<Option<&str>> {
        scalar(&self.entry.node, key).map_err(|fault| (self.entry.key(key), fault))
    }

    fn given_flag(&self, key: &'static str) -> Found<bool> {
        match self.flag(key)? {
            Some(flag) => Ok(flag),
            None => self.blame(key, FalcoFault::Missing(key)),
        }
    }

    fn flag(&self, key: &'static str) -> Found<Option<bool>> {
        let Some(text) = self.optional(key)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" | "on" => Ok(Some(true)),
            "n" | "no" | "false" | "off" => Ok(Some(false)),
            _ => self.blame(key, FalcoFault::Kind(key, "truth value")),
        }
    }

    fn strings(&self, key: &'static str) -> Found<Option<Vec<String>>> {
        let members = match self.entry.node.get(key) {
            None => return Ok(None),
            Some(Node::Sequence(members)) => members,
            Some(_) => return self.blame(key, FalcoFault::Kind(key, "list")),
        };
        let mut texts = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Node::Scalar(text) => texts.push(text.clone()),
                _ => return self.blame(key, FalcoFault::Kind(key, "list of texts")),
            }
        }
        Ok(Some(texts))
    }

    fn unknown_keys(&mut self, known: &[&str]) {
        let Node::Mapping(members) = &self.entry.node else {
            return;
        };
        let rule = known.contains(&"rule");
        for (key, _) in members {
            let expected =
                known.contains(&key.as_str()) || (rule && REPLACEABLE.contains(&key.as_str()));
            if !expected {
                self.warn(key, FalcoFault::UnknownKey(key.clone()));
            }
        }
    }
}

/// The text of a key; `None` when the key is not there.
pub(super) fn scalar<'n>(node: &'n Node, key: &'static str) -> Result<Option<&'n str>, FalcoFault> {
    match node.get(key) {
        None => Ok(None),
        Some(Node::Null) => Err(FalcoFault::Empty(key)),
        Some(Node::Scalar(text)) if text.is_empty() => Err(FalcoFault::Empty(key)),
        Some(Node::Scalar(text)) => Ok(Some(text)),
        Some(_) => Err(FalcoFault::Kind(key, "text")),
    }
}
