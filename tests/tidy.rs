//! What a reader of the tree relies on: files that can be read at once, words that mean what they say,
//! and documents whose commands exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that a file of code may have.
const CODE_LINES_MAX: usize = 800;

/// Tables, which are read by looking something up in them.
const TABLES: &[(&str, &str)] = &[];

/// Documents that have to stay short to be read.
const DOCUMENT_LINES_MAX: [(&str, usize); 2] = [("README.md", 150), ("ARCHITECTURE.md", 250)];

/// Words that say that something is not finished. Put together here, so that they do not stand in this file.
const UNFINISHED: [&str; 11] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("st", "ub"),
    concat!("place", "holder"),
    concat!("not imple", "mented"),
    concat!("not yet imple", "mented"),
    concat!("for n", "ow"),
    concat!("in a real ", "system"),
];

/// Where one of these words is a term of the field: Sigma's `%name%`, and decisions tell what was.
const TERMS: [&str; 4] = ["src/rules/", "docs/sigma.md", "docs/decisions/", "tests/sigma.rs"];

#[test]
fn a_file_can_be_read_at_once() {
    let mut long = Vec::new();
    for (name, text) in files(&["rs", "py", "sh"]) {
        let lines = text.lines().count();
        if lines > CODE_LINES_MAX && !TABLES.iter().any(|(table, _)| *table == name) {
            long.push(format!("{name}: {lines} lines, {CODE_LINES_MAX} at most"));
        }
    }
    for (name, most) in DOCUMENT_LINES_MAX {
        let lines = read(name).lines().count();
        if lines > most {
            long.push(format!("{name}: {lines} lines, {most} at most"));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn nothing_says_that_it_is_unfinished() {
    let mut found = Vec::new();
    for (name, text) in files(&["rs", "md", "py", "sh", "yml", "toml", "Makefile"]) {
        for (at, line) in text.lines().enumerate() {
            let told = UNFINISHED.iter().find(|it| contains_word(line, it));
            if let Some(word) = told.filter(|_| !TERMS.iter().any(|it| name.starts_with(it))) {
                found.push(format!("{name}:{}: {word}", at + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Whether the word stands in the line by itself: not as a piece of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    let begins_one = |text: &str| text.starts_with(char::is_alphanumeric);
    let ends_one = |text: &str| text.ends_with(char::is_alphanumeric);
    let mut found = line.match_indices(word);
    found.any(|(at, _)| {
        let (before, after) = (line.get(..at).unwrap(), line.get(at + word.len()..).unwrap());
        let longer = ends_one(word) && begins_one(after);
        !ends_one(before) && !longer
    })
}

#[test]
fn every_command_that_a_document_shows_exists() {
    let targets: BTreeSet<String> = read("Makefile")
        .lines()
        .filter_map(|it| it.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && name.chars().all(char::is_alphanumeric))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut known: BTreeMap<Vec<String>, Offered> = BTreeMap::new();
    let (mut missing, mut shown) = (Vec::new(), 0);
    for (name, text) in files(&["md"]) {
        for command in commands(&text) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let exists = match words.as_slice() {
                ["make", target, ..] => targets.contains(*target),
                ["kustos", rest @ ..] if !rest.is_empty() => kustos(rest, &mut known),
                _ => continue,
            };
            shown += 1;
            if !exists {
                missing.push(format!("{name}: {command}"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    assert!(shown > 30, "{shown} commands were found in the documents");
}

/// The lines of code blocks, and of code in the text, that could be commands.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, block) in text.split("```").enumerate() {
        if at % 2 == 1 {
            let lines = block.lines().skip(1);
            found.extend(lines.map(|it| it.trim_start_matches(['$', ' ']).to_owned()));
        } else {
            found.extend(block.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// What the help of a command offers.
#[derive(Clone, Default)]
struct Offered {
    commands: BTreeSet<String>,
    options: BTreeSet<String>,
}

/// Whether the binary has these subcommands and every long option that is shown with them.
fn kustos(words: &[&str], known: &mut BTreeMap<Vec<String>, Offered>) -> bool {
    let comment = words.iter().position(|it| it.starts_with('#')).unwrap_or(words.len());
    let words = words.get(..comment).unwrap();
    let mut path: Vec<String> = Vec::new();
    let mut offered = help(&path, known);
    for word in words {
        // In a build without SQL the two commands are not there, and that is as it should be.
        if !cfg!(feature = "sql") && path.is_empty() && ["search", "query"].contains(word) {
            return true;
        }
        if offered.commands.is_empty() || word.starts_with('-') || *word == "COMMAND" {
            break;
        }
        if !offered.commands.contains(*word) {
            return false;
        }
        path.push((*word).to_owned());
        offered = help(&path, known);
    }
    let mut options = words.iter().filter(|it| it.starts_with("--") && it.len() > 2);
    options.all(|it| offered.options.contains(it.trim_end_matches(';')))
}

/// The help of a command, read once.
fn help(path: &[String], known: &mut BTreeMap<Vec<String>, Offered>) -> Offered {
    let ask = || {
        let output = Command::new(env!("CARGO_BIN_EXE_kustos")).args(path).arg("--help").output();
        let help = String::from_utf8(output.unwrap().stdout).unwrap();
        let help = help.split("Examples:\n").next().unwrap();
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let listed = listed.lines().take_while(|it| !it.is_empty());
        let first = |it: &str| it.split_whitespace().next().map(str::to_owned);
        let options = help.lines().filter(|it| it.trim_start().starts_with('-'));
        let long =
            |it: &str| it.split_whitespace().find(|it| it.starts_with("--")).map(str::to_owned);
        Offered {
            commands: listed.filter_map(first).collect(),
            options: options.filter_map(long).collect(),
        }
    };
    known.entry(path.to_vec()).or_insert_with(ask).clone()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in files(&["md"]) {
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let path = Path::new(&name).parent().unwrap().join(target);
            if !target.is_empty() && !target.contains("://") && !path.exists() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    // Comments and help texts name documents as well.
    for (name, text) in files(&["rs"]) {
        for named in text.split("docs/").skip(1) {
            let path = |it: char| !(it.is_ascii_alphanumeric() || "/-_.".contains(it));
            let target = named.split(path).next().unwrap().trim_end_matches('.');
            if target.ends_with(".md") && !Path::new("docs").join(target).exists() {
                broken.push(format!("{name}: docs/{target}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_routine_in_the_documentation_is_the_one_that_runs() {
    let program = read("docs/rebuild.py");
    let routine = program.split("# The routine.\n").nth(1).unwrap();
    let routine = routine.split("# The routine ends here.").next().unwrap().trim();
    assert!(routine.lines().filter(|it| !it.is_empty()).count() <= 20);
    assert!(read("docs/archive-format.md").contains(routine), "docs/archive-format.md is stale");
}

fn read(name: &str) -> String {
    fs::read_to_string(name).unwrap()
}

/// Name and text of the tree's own files with one of these endings, or of that name.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                // What is built, fetched or hidden is not ours to tidy.
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if endings.contains(&name.rsplit('.').next().unwrap()) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.to_str().unwrap().trim_start_matches("./").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}
