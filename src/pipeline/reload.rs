//! Rule files that changed -> another rule set in force, or the old one and a reason.
//!
//! One rule: a set that cannot be loaded whole, or kept in the archive, does not come into force. What
//! is in force is never half of two sets.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::in_force::InForce;
use crate::archive::rulesets::{self, RulesetError};
use crate::cause;
use crate::rules::{self, LoadError, LoadOptions};

/// What asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A rule file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /api/v1/reload`.
    Api,
}

impl Trigger {
    /// The word in the log and in `/api/v1/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::File => "file",
            Trigger::Signal => "signal",
            Trigger::Api => "api",
        }
    }
}

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The hash of the set that is now in force.
    pub ruleset: String,
    /// How many rules it has.
    pub rules: usize,
    /// Whether it is another set than before.
    pub changed: bool,
    /// Rules that work and probably do not mean what they say.
    pub warnings: Vec<String>,
}

/// Why the old set stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The rules are broken or cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no rule left: more likely a folder was emptied by mistake than on purpose.
    #[error("no rule was found in {0}")]
    Empty(String),
    /// The archive could not keep the set, so that its findings could not be made again.
    #[error(transparent)]
    Keep(#[from] RulesetError),
}

impl ReloadError {
    /// Whether the rules are to blame, and not the archive.
    pub fn is_of_rules(&self) -> bool {
        !matches!(self, ReloadError::Keep(_))
    }

    /// Everything that is wrong, one line each, with file, rule and line where they are known.
    pub fn lines(&self) -> Vec<String> {
        match self {
            ReloadError::Load(LoadError::Broken(errors)) => {
                errors.iter().map(ToString::to_string).collect()
            }
            other => vec![cause::line(other)],
        }
    }
}

/// Whom every attempt is told.
pub type Told = Box<dyn Fn(Trigger, &Result<Reloaded, ReloadError>) + Send + Sync>;

/// Loads the rules again, from where they were loaded first.
pub struct Reloader {
    /// Rule files and folders.
    pub paths: Vec<PathBuf>,
    /// How they are loaded.
    pub options: LoadOptions,
    /// The archive's folder.
    pub dir: PathBuf,
    /// What is in force.
    pub in_force: InForce,
    told: Told,
    /// Held while one is under way: two at a time could end in the wrong order.
    turn: Mutex<()>,
}

impl Reloader {
    /// Reloads what these name into `in_force`, and tells `told` of every attempt.
    pub fn new(
        (paths, options): (Vec<PathBuf>, LoadOptions),
        dir: &Path,
        in_force: InForce,
        told: Told,
    ) -> Reloader {
        Reloader { paths, options, dir: dir.to_owned(), in_force, told, turn: Mutex::default() }
    }

    /// Loads the rules and puts them in force.
    ///
    /// # Errors
    /// When they are not to come into force; those before stay.
    pub fn reload(&self, trigger: Trigger) -> Result<Reloaded, ReloadError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.exchange();
        (self.told)(trigger, &result);
        result
    }

    fn exchange(&self) -> Result<Reloaded, ReloadError> {
        let loaded = rules::load(&self.paths, &self.options)?;
        if loaded.rules.is_empty() {
            let names: Vec<String> = self.paths.iter().map(|it| it.display().to_string()).collect();
            return Err(ReloadError::Empty(names.join(", ")));
        }
        let rules = Arc::new(loaded.rules);
        let changed = rules.hash() != self.in_force.rules().hash();
        if changed {
            // Before anything can be found with it. A crash here leaves a set that judged nothing.
            rulesets::keep(&self.dir, rules.hash(), rules.texts())?;
            self.in_force.swap(Arc::clone(&rules));
        }
        Ok(Reloaded {
            ruleset: rules.hash().to_owned(),
            rules: rules.len(),
            changed,
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    fn rule(verb: &str) -> String {
        format!("title: T\nid: t\ndetection:\n  sel:\n    verb: {verb}\n  condition: sel\n")
    }

    #[test]
    fn a_set_comes_into_force_whole_and_kept_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        durable::create_dir_all(&dir.path().join("rulesets")).unwrap();
        let file = dir.path().join("r.yml");
        let write = |text: &str| durable::write(&file, text.as_bytes()).unwrap();
        write(&rule("get"));
        let load = || {
            Arc::new(
                rules::load(std::slice::from_ref(&file), &LoadOptions::default()).unwrap().rules,
            )
        };
        let in_force = InForce::new(load());
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let note: Told = Box::new(move |_, it| telling.lock().unwrap().push(it.is_ok()));
        let named = (vec![file.clone()], LoadOptions::default());
        let reloader = Reloader::new(named, dir.path(), in_force.clone(), note);
        assert!(!reloader.reload(Trigger::Signal).unwrap().changed);
        write(&rule("list"));
        let reloaded = reloader.reload(Trigger::File).unwrap();
        assert!(reloaded.changed);
        assert_eq!(in_force.rules().hash(), reloaded.ruleset);
        assert_eq!(rulesets::texts(dir.path(), &reloaded.ruleset).unwrap().len(), 1);
        for (text, want) in [
            (rule("get").replace("verb", "verb|re2"), "line 5: unknown modifier 're2'"),
            ("# nothing\n".to_owned(), "the file holds no rule"),
        ] {
            write(&text);
            let error = reloader.reload(Trigger::Api).unwrap_err();
            assert!(error.is_of_rules() && error.lines()[0].contains(want), "{:?}", error.lines());
            assert_eq!(in_force.rules().hash(), reloaded.ruleset);
        }
        assert_eq!(*told.lock().unwrap(), [true, true, false, false]);
    }

    #[test]
    fn a_folder_without_a_rule_and_an_archive_that_keeps_nothing_leave_the_old_set() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("rules");
        durable::create_dir_all(&folder).unwrap();
        let rules = rules::shipped(rules::Profile::Standard).unwrap();
        let hash = rules.hash().to_owned();
        let in_force = InForce::new(Arc::new(rules));
        let named = (vec![folder.clone()], LoadOptions::default());
        let reloader = Reloader::new(named, dir.path(), in_force.clone(), Box::new(|_, _| {}));
        let error = reloader.reload(Trigger::File).unwrap_err();
        assert!(matches!(error, ReloadError::Empty(_)), "{error}");
        durable::write(&folder.join("r.yml"), rule("get").as_bytes()).unwrap();
        // There is no folder `rulesets`.
        let error = reloader.reload(Trigger::File).unwrap_err();
        assert!(!error.is_of_rules(), "{error}");
        assert_eq!(in_force.rules().hash(), hash);
    }
}
