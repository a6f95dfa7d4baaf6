//! Paths in, a rule set out. Everything that is wrong is told at once, with file,
//! line and reason; only `lenient` loads what is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::advice::Advice;
use super::compile::{CompileFault, compile};
use super::embedded::{LISTS, SHIPPED};
use super::falco::{self, Collector, FalcoFault};
use super::identity;
use super::ir::{About, CorrelationDraft, Draft};
use super::link::{Countable, link};
use super::lists::{self, Lists};
use super::set::RuleSet;
use super::sight::Correlations;
use super::sigma::{
    self, BoundFault, CorrelationFault, Filter, FilterFault, Placeholders, SigmaFault,
};
use super::{Rule, RuleIndex};
use crate::config::{Profile, RuleMatching};

/// A rule file over this size is no rule file.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// More rule files than this under the given paths is a mistake in a path.
pub(super) const FILES_MAX: usize = 50_000;

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Load the rules that are good, and report the others, instead of loading none.
    pub lenient: bool,
    /// Load the shipped rules of this profile as well.
    pub shipped: Option<Profile>,
    /// Which of the Falco rules that match an event fire.
    pub rule_matching: RuleMatching,
    /// What placeholders (`%name%`) stand for.
    pub placeholders: BTreeMap<String, Vec<String>>,
}

/// A rule set, and what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: RuleSet,
    /// Rules that were left out; always empty unless loading was lenient.
    pub errors: Vec<RuleError>,
    /// Rules that work and probably do not mean what they say.
    pub warnings: Vec<RuleError>,
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path could not be read.
    #[error("cannot read rules from {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There are too many files.
    #[error("more than {FILES_MAX} rule files under {}", path.display())]
    TooManyFiles {
        /// The path that holds them.
        path: PathBuf,
    },
    /// Rules are broken. Every one is listed.
    #[error("{} broken\n{}", counted(.0.len()), listed(.0))]
    Broken(Vec<RuleError>),
}

fn counted(count: usize) -> String {
    if count == 1 { "1 rule is".to_owned() } else { format!("{count} rules are") }
}

fn listed(errors: &[RuleError]) -> String {
    let lines: Vec<String> = errors.iter().map(|it| format!("  {it}")).collect();
    lines.join("\n")
}

/// What is wrong with one rule, and where.
#[derive(Debug)]
pub struct RuleError {
    /// The file it is in.
    pub file: PathBuf,
    /// The line, from 1: of the offending word where it could be found, else of the rule.
    pub line: u32,
    /// The rule's title, where it has one.
    pub rule: Option<String>,
    pub(super) fault: Fault,
}

impl RuleError {
    /// What is wrong, without the place.
    pub fn reason(&self) -> String {
        self.fault.to_string()
    }
}

impl std::error::Error for RuleError {}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(rule) = &self.rule {
            write!(f, "rule \"{rule}\", ")?;
        }
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

/// What can be wrong with one rule.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file is not UTF-8")]
    NotUtf8,
    #[error("the file holds no rule")]
    Empty,
    /// `about` is the list or macro, where it is no rule.
    #[error("{about}{why}")]
    Falco { about: String, why: FalcoFault },
    /// In the words of the lowering, or of the output's reader.
    #[error("{0}")]
    FalcoMeaning(String),
    #[error("{0}")]
    Lists(String),
    #[error(transparent)]
    Filter(FilterFault),
    #[error("`rules` names no rule; write `any`, or a list of ids and names")]
    FilterRules,
    #[error(transparent)]
    Bound(BoundFault),
    #[error("`{key}` must be {needs}")]
    Key { key: &'static str, needs: &'static str },
    #[error(transparent)]
    Correlation(CorrelationFault),
    #[error("the rule is written for a later version of Sigma")]
    Version,
    /// In the YAML or Sigma parser's words.
    #[error("{0}")]
    Parser(String),
    #[error(transparent)]
    Sigma(SigmaFault),
    #[error(transparent)]
    Compile(CompileFault),
    #[error(transparent)]
    Advice(Advice),
    #[error("id \"{id}\" is also that of {}, line {line}", file.display())]
    Duplicate { id: String, file: PathBuf, line: u32 },
    #[error(
        "\"{0}\" has brackets: to judge members of an array, state \"sigma-version: 3\"; in a name, write them as \\[ and \\]"
    )]
    Brackets(String),
    #[error(
        "null stands in a list of values, which Sigma does not define; it is taken as one of them"
    )]
    NullInList,
    #[error(
        "no search identifier fits \"{0}\": \"1 of\" it is always false, \"all of\" it always true"
    )]
    SelectsNothing(String),
}

/// Loads every rule under `paths`, after the shipped ones where they are asked for: files as they are, folders for their `.yml` and
/// `.yaml` files, at any depth, in the order of their names. Files of lists among them say what placeholders stand
/// for, before `options` does; what neither names is as it is shipped.
pub fn load(paths: &[PathBuf], options: &LoadOptions) -> Result<Loaded, LoadError> {
    let mut texts = Vec::new();
    let mut faults = Vec::new();
    if let Some(profile) = options.shipped {
        let of_profile = SHIPPED.iter().filter(|(_, text)| in_profile(text, profile));
        texts.extend(of_profile.map(|(name, text)| (PathBuf::from(name), (*text).to_owned())));
    }
    for file in files(paths)? {
        match read(&file)? {
            Ok(text) => texts.push((file, text)),
            Err(fault) => faults.push((file, fault)),
        }
    }
    let (lists, rules): (Vec<_>, Vec<_>) = texts.into_iter().partition(|it| lists::is_lists(&it.1));
    let mut known = Lists::default();
    let shipped = LISTS.iter().map(|(name, text)| (Path::new(name), *text));
    for (file, text) in shipped.chain(lists.iter().map(|(file, text)| (&**file, &**text))) {
        if let Err(why) = known.read(text) {
            faults.push((file.to_path_buf(), Fault::Lists(why)));
        }
    }
    let placeholders = known.with(&options.placeholders).asked_for(&rules);
    let options = LoadOptions { placeholders, ..options.clone() };
    let mut loader = Loader::new(&options);
    faults.into_iter().for_each(|(file, fault)| loader.fault(&file, 1, fault));
    rules.iter().for_each(|(file, text)| loader.add(file, text));
    loader.finish(options.lenient)
}

/// Whether a shipped file belongs to the profile. One that names none belongs to all, so that it is never missed.
fn in_profile(text: &str, profile: Profile) -> bool {
    sigma::profile_of(text).is_none_or(|it| it <= profile)
}

/// A rule file's text, or what is wrong with it.
fn read(file: &Path) -> Result<Result<String, Fault>, LoadError> {
    let wrong = |source| LoadError::Read { path: file.to_path_buf(), source };
    if fs::metadata(file).map_err(wrong)?.len() > FILE_BYTES_MAX {
        return Ok(Err(Fault::TooLarge));
    }
    let wrong = |source| LoadError::Read { path: file.to_path_buf(), source };
    Ok(String::from_utf8(fs::read(file).map_err(wrong)?).map_err(|_| Fault::NotUtf8))
}

/// Loads rules from texts that are in memory already, each with the name errors give it.
pub fn load_text<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    options: &LoadOptions,
) -> Result<Loaded, LoadError> {
    let mut loader = Loader::new(options);
    for (name, text) in texts {
        loader.add(Path::new(name), text);
    }
    loader.finish(options.lenient)
}

/// The rule files that [`load`] reads, in its order.
///
/// # Errors
/// When a path cannot be read, or holds too many.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LoadError> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(files_at(path)?);
    }
    Ok(found)
}

/// The rule files at a path, sorted. A file named outright is taken whatever its name.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let wrong = |path: &Path| {
        let path = path.to_path_buf();
        move |source| LoadError::Read { path, source }
    };
    if !fs::metadata(path).map_err(wrong(path))?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(wrong(&folder))? {
            let inner = entry.map_err(wrong(&folder))?.path();
            // Kubernetes mounts a config map behind links that begin with `..`, and the
            // same files show once more under their own names.
            let hidden =
                inner.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
            let yaml = inner.extension().is_some_and(|it| it == "yml" || it == "yaml");
            if hidden {
                continue;
            }
            // A link to a folder is not followed: it may lead back up.
            if inner.is_dir() && !inner.is_symlink() {
                folders.push(inner);
            } else if yaml && inner.is_file() {
                found.push(inner);
            }
        }
        if found.len() > FILES_MAX {
            return Err(LoadError::TooManyFiles { path: path.to_path_buf() });
        }
    }
    found.sort();
    Ok(found)
}

/// Gathers rules file by file.
struct Loader<'l> {
    placeholders: &'l Placeholders,
    rule_matching: RuleMatching,
    drafts: Vec<Draft>,
    falco: Collector,
    filters: Vec<Filter>,
    correlations: Vec<CorrelationDraft>,
    texts: Vec<(String, String)>,
    errors: Vec<RuleError>,
    warnings: Vec<RuleError>,
}

impl<'l> Loader<'l> {
    fn new(options: &'l LoadOptions) -> Loader<'l> {
        Loader {
            placeholders: &options.placeholders,
            rule_matching: options.rule_matching,
            drafts: Vec::new(),
            falco: Collector::default(),
            filters: Vec::new(),
            correlations: Vec::new(),
            texts: identity::options_text(options).into_iter().collect(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add(&mut self, file: &Path, text: &str) {
        self.texts.push((file.display().to_string(), text.to_owned()));
        if identity::is_list(text) {
            self.falco.add(file, text);
            return;
        }
        let parsed = sigma::parse(file, text, self.placeholders);
        self.drafts.extend(parsed.drafts);
        self.filters.extend(parsed.filters);
        self.correlations.extend(parsed.correlations);
        self.errors.extend(parsed.errors);
        self.warnings.extend(parsed.warnings);
    }

    fn fault(&mut self, file: &Path, line: u32, fault: Fault) {
        self.errors.push(RuleError { file: file.to_path_buf(), line, rule: None, fault });
    }

    fn finish(mut self, lenient: bool) -> Result<Loaded, LoadError> {
        let mut rules: Vec<Rule> = Vec::new();
        let (mut exprs, mut nodes) = (Vec::new(), Vec::new());
        let (mut names, mut outputs, mut disabled) = (Vec::new(), Vec::new(), Vec::new());
        let mut known: BTreeMap<String, RuleIndex> = BTreeMap::new();
        let told = sigma::filter(&self.filters, &mut self.drafts);
        self.errors.extend(told.errors);
        self.warnings.extend(told.warnings);
        // After the filters, which are Sigma's: Falco's rules have exceptions.
        self.draft_falco();
        for Draft { about, expr } in std::mem::take(&mut self.drafts) {
            let id = about.id.clone().unwrap_or_else(|| titled(&about.title, &known));
            let twin = known.get(&id).and_then(|at| rules.get(at.get()));
            let fault = match (twin, compile(&expr)) {
                (Some(twin), _) => {
                    Fault::Duplicate { id, file: twin.file.clone(), line: twin.line }
                }
                (None, Err(error)) => {
                    let line = self.line_of(&about, &error.near);
                    self.errors.push(broken(&about, line, Fault::Compile(error.why)));
                    continue;
                }
                (None, Ok(node)) => {
                    if about.falco.as_ref().is_some_and(|it| !it.enabled) {
                        disabled.push(rule(about, id));
                        continue;
                    }
                    known.insert(id.clone(), RuleIndex::new(rules.len()));
                    names.push(about.name.clone());
                    outputs.push(about.falco.as_ref().map(|it| it.template.clone()));
                    rules.push(rule(about, id));
                    exprs.push(expr);
                    nodes.push(node);
                    continue;
                }
            };
            let line = self.line_of(&about, "id");
            self.errors.push(broken(&about, line, fault));
        }
        let rules_known = Countable { rules: &rules, names: &names, exprs: &exprs };
        let correlations = self.link(&rules_known, &known);
        if !lenient && !self.errors.is_empty() {
            self.errors
                .sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
            return Err(LoadError::Broken(self.errors));
        }
        let rules = RuleSet::new(rules, exprs, nodes, self.texts)
            .correlating(correlations)
            .saying(outputs, self.rule_matching)
            .beside(disabled);
        Ok(Loaded { rules, errors: self.errors, warnings: self.warnings })
    }

    /// A later Falco file changes what an earlier one says, so they are understood at the end.
    fn draft_falco(&mut self) {
        let drafted = falco::draft(std::mem::take(&mut self.falco));
        self.drafts.extend(drafted.drafts);
        self.errors.extend(drafted.errors);
        self.warnings.extend(drafted.warnings);
    }

    fn link(
        &mut self,
        countable: &Countable<'_>,
        known: &BTreeMap<String, RuleIndex>,
    ) -> Correlations {
        let mut drafts: Vec<(CorrelationDraft, Rule)> = Vec::new();
        for draft in std::mem::take(&mut self.correlations) {
            let about = &draft.about;
            let id = about.id.clone().unwrap_or_else(|| {
                let taken = |it: &str| {
                    known.contains_key(it) || drafts.iter().any(|(_, rule)| rule.id == it)
                };
                untaken(&about.title, taken)
            });
            let twin = known.get(&id).and_then(|at| countable.rules.get(at.get()));
            let twin = twin.or_else(|| drafts.iter().map(|(_, it)| it).find(|it| it.id == id));
            if let Some(twin) = twin {
                let fault = Fault::Duplicate { id, file: twin.file.clone(), line: twin.line };
                self.errors.push(broken(about, self.line_of(about, "id"), fault));
                continue;
            }
            let rule = rule(about.clone(), id);
            drafts.push((draft, rule));
        }
        let (correlations, flaws) = link(&drafts, countable);
        for flaw in flaws {
            if let Some((draft, _)) = drafts.get(flaw.at) {
                let line = self.line_of(&draft.about, &flaw.near);
                self.errors.push(broken(&draft.about, line, flaw.fault));
            }
        }
        correlations
    }

    /// The line of a word of a rule whose document starts at `about.line`.
    fn line_of(&self, about: &About, near: &str) -> u32 {
        let name = about.file.display().to_string();
        let text = self.texts.iter().find(|(path, _)| *path == name);
        text.map_or(about.line, |(_, text)| sigma::line_of(text, about.line, near))
    }
}

/// The id of a rule that has none: its title, counted where it is not the first of that name.
fn titled(title: &str, known: &BTreeMap<String, RuleIndex>) -> String {
    untaken(title, |it| known.contains_key(it))
}

fn untaken(title: &str, taken: impl Fn(&str) -> bool) -> String {
    let counted = (2..).map(|count| format!("{title} ({count})"));
    let mut names = std::iter::once(title.to_owned()).chain(counted);
    names.find(|it| !taken(it)).unwrap_or_default()
}

fn broken(about: &About, line: u32, fault: Fault) -> RuleError {
    RuleError { file: about.file.clone(), line, rule: Some(about.title.clone()), fault }
}

fn rule(about: About, id: String) -> Rule {
    let hash = identity::rule(&about.source);
    let of_falco = about.falco.map(|it| *it);
    Rule {
        id,
        title: about.title,
        level: about.level,
        dialect: if of_falco.is_some() { falco::DIALECT } else { "sigma" },
        tags: about.tags,
        description: about.description,
        status: about.status,
        falsepositives: about.falsepositives,
        references: about.references,
        runbook: about.runbook,
        profile: about.profile,
        behaviours: about.behaviours,
        file: about.file,
        line: about.line,
        hash,
        priority: of_falco.as_ref().map(|it| it.priority),
        output: of_falco.as_ref().map(|it| it.output.clone()),
        condition: of_falco.map(|it| it.condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "title: Good\nid: a\ndetection:\n  sel:\n    verb: get\n  condition: sel\n";

    fn errors(text: &str) -> String {
        load_text([("x.yml", text)], &LoadOptions::default()).unwrap_err().to_string()
    }

    fn with(line: &str) -> String {
        errors(&format!("title: Bad\ndetection:\n  sel:\n    {line}\n  condition: sel\n"))
    }

    #[test]
    fn every_error_has_its_file_line_and_reason() {
        for (line, want) in [
            ("verb|re2: x", "line 4: unknown modifier 're2'"),
            ("verb|re: 'a('", "line 4: regular expression \"a(\": unclosed group"),
            ("verb|contains|re: x", "line 4: modifier \"contains\" cannot stand with \"re\""),
            ("verb|contains|all: x", "line 4: modifier \"all\" needs more than one value"),
            ("ip|cidr: 10.0.0.0/99", "line 4: \"10.0.0.0/99\" is no network"),
            ("verb|gte: much", "line 4: modifier \"a comparison\" needs a number, not much"),
            ("verb|exists: much", "needs true or false"),
            ("verb|expand: '%x%'", "line 4: unknown placeholder \"%x%\""),
            ("verb|i: x", "has no meaning without \"re\""),
            ("kustos.nothing: x", "line 4: unknown field \"kustos.nothing\""),
            ("verb: []", "line 4: \"verb\" holds no value"),
        ] {
            let error = with(line);
            assert!(
                error.contains("x.yml: rule \"Bad\"") && error.contains(want),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let text = format!(
            "{GOOD}---\n{GOOD}---\ntitle: C\ncorrelation:\n  type: event_count\n  rules: [z]\n  timespan: 1m\n  condition: {{gte: 1}}\n"
        );
        let error = errors(&text);
        assert!(error.starts_with("2 rules are broken\n"), "{error}");
        assert!(error.contains("line 9: id \"a\" is also that of x.yml, line 1"), "{error}");
        assert!(
            error.contains("rule \"C\", line 18: no rule and no correlation is called"),
            "{error}"
        );
        let options = LoadOptions { lenient: true, ..LoadOptions::default() };
        let loaded = load_text([("x.yml", &*text)], &options).unwrap();
        assert_eq!((loaded.rules.len(), loaded.errors.len()), (1, 2));
    }

    #[test]
    fn networks_come_from_a_list() {
        let rule = "title: N\ndetection:\n  sel:\n    kustos.sourceIP|cidr|expand: '%inside%'\n  condition: sel\n";
        let load = |networks: &[&str]| {
            let networks = networks.iter().map(|it| (*it).to_owned()).collect();
            let placeholders = BTreeMap::from([("inside".to_owned(), networks)]);
            load_text([("x.yml", rule)], &LoadOptions { placeholders, ..LoadOptions::default() })
        };
        assert!(load(&["10.0.0.0/8", "fd00::/8"]).is_ok());
        let error = load(&["10.0.0.0/99"]).unwrap_err().to_string();
        assert!(error.contains("\"10.0.0.0/99\" is no network"), "{error}");
    }

    #[test]
    fn falco_files_are_told_apart_by_content() {
        let error = errors("# hi\n- required_engine_version: 11\n\n- rule: X\n  desc: y\n");
        assert!(error.contains("x.yml: rule \"X\", line 4: Item has no mapping"), "{error}");
    }

    #[test]
    fn the_hash_is_of_the_texts_and_not_of_their_order() {
        let other = GOOD.replace("id: a", "id: b");
        let hash = |texts: [(&str, &str); 2]| {
            load_text(texts, &LoadOptions::default()).unwrap().rules.hash().to_owned()
        };
        let one = hash([("1", GOOD), ("2", &other)]);
        assert_eq!(one, hash([("3", &other), ("4", GOOD)]));
        assert_eq!(one.len(), 64);
    }
}
