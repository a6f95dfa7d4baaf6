//! `kustos rules`: check, list, show and test rules.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueHint};
use comfy_table::presets;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::output::{counted, fitting_table};
use super::shared::Usage;
use crate::decode;
use crate::rules::{self, LoadError, LoadOptions, Loaded, Rule, RuleSet, Scratch};

const EXAMPLES: &str = "\
Examples:
  kustos rules check ./my-rules
  kustos rules list
  kustos rules show 672b3875-e7a8-4170-bd60-87022a9ee663
  kustos rules test ./my-rules

check and test exit with 1 when a rule is broken or does not do what its test says.";

/// Check, list, show and test rules.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load rules and report everything that is wrong with them.
    Check {
        /// Rule files and folders; the shipped rules when left out.
        #[arg(value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
        /// Succeed when at least the other rules load.
        #[arg(long)]
        lenient: bool,
    },
    /// One line for each rule.
    List {
        /// Rule files and folders; the shipped rules when left out.
        #[arg(long = "rules", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Everything that is known about one rule, and its text.
    Show {
        /// The rule's id.
        id: String,
        /// Rule files and folders; the shipped rules when left out.
        #[arg(long = "rules", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Run each rule over the `*.test.jsonl` beside it.
    Test {
        /// Rule files and folders; `rules` when left out.
        #[arg(value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
}

/// Runs the command. The exit code: 0 done, 1 a rule is broken or its test fails.
pub fn run(args: &Args) -> Result<u8> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Check { paths, lenient } => check(paths, *lenient, &mut out),
        Command::List { paths } => list(&loaded(paths, false)?.rules, &mut out),
        Command::Show { id, paths } => show(&loaded(paths, false)?.rules, id, &mut out),
        Command::Test { paths } => test(paths, &mut out),
    }
}

fn loaded(paths: &[PathBuf], lenient: bool) -> Result<Loaded, LoadError> {
    if paths.is_empty() {
        let rules = rules::shipped()?;
        return Ok(Loaded { rules, errors: Vec::new(), warnings: Vec::new() });
    }
    rules::load(paths, &LoadOptions { lenient, ..LoadOptions::default() })
}

fn check(paths: &[PathBuf], lenient: bool, out: &mut impl Write) -> Result<u8> {
    // Everything is loaded, so that warnings are told beside errors.
    let loaded = loaded(paths, true)?;
    for error in &loaded.errors {
        writeln!(out, "error: {error}")?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let (good, bad) = (loaded.rules.len(), loaded.errors.len());
    let warnings = counted(loaded.warnings.len() as u64, "warning");
    writeln!(out, "{} good, {bad} broken, {warnings}", counted(good as u64, "rule"))?;
    Ok(u8::from(bad > 0 && !(lenient && good > 0)))
}

fn list(rules: &RuleSet, out: &mut impl Write) -> Result<u8> {
    let mut table = fitting_table(presets::NOTHING);
    table.set_header(["LEVEL", "ID", "TITLE", "FILE"]);
    for rule in rules.rules() {
        let place = format!("{}:{}", rule.file.display(), rule.line);
        table.add_row([rule.level.as_str(), &rule.id, &rule.title, &place]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(0)
}

fn show(rules: &RuleSet, id: &str, out: &mut impl Write) -> Result<u8> {
    let Some(rule) = rules.rules().iter().find(|it| it.id == id) else {
        return Err(Usage(format!(
            "there is no rule with the id \"{id}\": `kustos rules list` has them"
        ))
        .into());
    };
    about(rule, out)?;
    let file = rule.file.display().to_string();
    if let Some((_, text)) = rules.texts().find(|(path, _)| *path == file) {
        writeln!(out, "\n{}", text.trim_end())?;
    }
    Ok(0)
}

fn about(rule: &Rule, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n", rule.title)?;
    writeln!(out, "id       {}", rule.id)?;
    writeln!(out, "level    {}", rule.level)?;
    writeln!(out, "dialect  {}", rule.dialect)?;
    if let Some(status) = &rule.status {
        writeln!(out, "status   {status}")?;
    }
    writeln!(out, "tags     {}", rule.tags.join(", "))?;
    writeln!(out, "file     {}:{}", rule.file.display(), rule.line)
}

/// One line of a rule's test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'c> {
    r#match: bool,
    why: String,
    #[serde(borrow)]
    event: &'c RawValue,
}

fn test(paths: &[PathBuf], out: &mut impl Write) -> Result<u8> {
    let standard = [PathBuf::from("rules")];
    let paths = if paths.is_empty() { &standard } else { paths };
    let loaded = loaded(paths, false)?;
    let mut files: Vec<&Path> = loaded.rules.rules().iter().map(|it| &*it.file).collect();
    files.dedup();
    let (mut good, mut bad) = (0, 0);
    for file in files {
        let wrong = test_file(file)?;
        for told in &wrong {
            writeln!(out, "{}: {told}", file.display())?;
        }
        if wrong.is_empty() { good += 1 } else { bad += 1 }
    }
    writeln!(out, "{good} rule files as tested, {bad} not")?;
    Ok(u8::from(bad > 0))
}

/// What one rule file gets wrong in the tests beside it.
fn test_file(file: &Path) -> Result<Vec<String>> {
    let tests = file.with_extension("test.jsonl");
    if !tests.is_file() {
        return Ok(vec![format!("there is no {}", tests.display())]);
    }
    let rules = rules::load(&[file.to_path_buf()], &LoadOptions::default())?.rules;
    let text = fs::read_to_string(&tests).with_context(|| format!("{}", tests.display()))?;
    let mut wrong = Vec::new();
    let mut seen = [false; 2];
    let mut scratch = Scratch::default();
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, it)| !it.trim().is_empty()) {
        let place = || format!("{}, line {}", tests.display(), at + 1);
        let case: Case<'_> = serde_json::from_str(line).with_context(place)?;
        let event = match decode::line(case.event.get().as_bytes()) {
            Ok(event) => event,
            Err(flaw) => bail!("{}: the event is {flaw}", place()),
        };
        rules.matches(&event, &mut scratch, &mut found);
        if let Some(seen) = seen.get_mut(usize::from(case.r#match)) {
            *seen = true;
        }
        if found.is_empty() == case.r#match {
            let told = if case.r#match { "no match" } else { "a match" };
            wrong.push(format!("line {}: {told}: {}", at + 1, case.why));
        }
    }
    if seen != [true, true] {
        wrong.push("the tests need an event that matches and one that does not".to_owned());
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(run: impl FnOnce(&mut Vec<u8>) -> Result<u8>) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn broken_rules_fail_the_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        let text = "title: T\ndetection:\n  a:\n    verb|re2: x\n  condition: a\n";
        io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        let (code, text) = told(|out| check(&[path], false, out));
        assert_eq!(code, 1);
        assert!(text.contains("line 4: unknown modifier 're2'"), "{text}");
        assert!(text.ends_with("0 rules good, 1 broken, 0 warnings\n"), "{text}");
    }

    #[test]
    fn rules_are_listed_shown_and_tested() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        let write = |path: &Path, text: &str| {
            fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write(&path, "title: T\nid: an-id\ndetection:\n  a:\n    verb: get\n  condition: a\n");
        let loaded = loaded(std::slice::from_ref(&path), false).unwrap();
        let (_, text) = told(|out| list(&loaded.rules, out));
        assert!(text.contains("an-id") && text.contains("x.yml:1"), "{text}");
        let (_, text) = told(|out| show(&loaded.rules, "an-id", out));
        assert!(text.contains("level    medium") && text.contains("verb: get"), "{text}");
        assert!(show(&loaded.rules, "other", &mut Vec::new()).is_err());

        let paths = [folder.path().to_path_buf()];
        assert_eq!(told(|out| test(&paths, out)).0, 1);
        let good = "{\"match\":true,\"why\":\"w\",\"event\":{\"verb\":\"get\"}}\n{\"match\":false,\"why\":\"w\",\"event\":{}}\n";
        write(&folder.path().join("x.test.jsonl"), good);
        assert_eq!(
            told(|out| test(&paths, out)),
            (0, "1 rule files as tested, 0 not\n".to_owned())
        );
        write(&folder.path().join("x.test.jsonl"), &good.replace("true", "false"));
        let (code, text) = told(|out| test(&paths, out));
        assert!(code == 1 && text.contains("line 1: a match: w"), "{text}");
    }
}
