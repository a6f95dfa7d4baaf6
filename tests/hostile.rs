//! Rules that try to take memory or time: each is refused with an error that names the bound, and
//! soon.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fmt::Write;

use kustos::rules::{LoadOptions, load_text};

/// A rule of these detections, and what is wrong with it.
fn refused(detection: &str) -> String {
    refused_text(&format!("title: T\ndetection:\n{detection}"))
}

fn refused_text(text: &str) -> String {
    load_text([("t.yml", text)], &options()).unwrap_err().to_string()
}

fn options() -> LoadOptions {
    let many = (0..100).map(|it| it.to_string()).collect();
    LoadOptions { placeholders: BTreeMap::from([("x".to_owned(), many)]), ..LoadOptions::default() }
}

fn selection(line: &str) -> String {
    format!("  sel:\n    {line}\n  condition: sel\n")
}

fn list(key: &str, values: impl Iterator<Item = String>) -> String {
    values.fold(format!("{key}:\n"), |mut text, value| {
        writeln!(text, "      - {value}").unwrap();
        text
    })
}

#[test]
fn values_and_expressions_have_a_number() {
    let many = list("n", (0..20_001).map(|it| format!("v{it}")));
    assert!(refused(&selection(&many)).contains("more than 20000 values"));
    let many = list("n|re", (0..501).map(|it| format!("a{it}.*b")));
    assert!(refused(&selection(&many)).contains("more than 500 regular expressions"));
    let many = list("n|expand", (0..201).map(|it| format!("'{it}%x%'")));
    assert!(refused(&selection(&many)).contains("more than 20000 values"));
    assert!(refused(&selection("n|expand: '%x%%x%'")).contains("stands for more than 4096"));
    let dashes = " -a".repeat(9);
    let error = refused(&selection(&format!("n|windash|base64: '{dashes}'")));
    assert!(error.contains("stands for more than 4096"), "{error}");
}

#[test]
fn expressions_and_texts_have_a_size() {
    for pattern in [r"(\w{1,500}){1,50}", "(a{1000}){1000}", r"\pL{1,900}{1,20}"] {
        let error = refused(&selection(&format!("n|re: '{pattern}'")));
        assert!(error.contains("takes more than 1048576 bytes"), "{error}");
    }
    let alternatives: Vec<String> = (0..60_000).map(|it| format!("w{it}.*x")).collect();
    let error = refused(&selection(&format!("n|re: '{}'", alternatives.join("|"))));
    assert!(error.contains("takes more than 1048576 bytes"), "{error:.200}");
    assert!(refused(&selection("n|re: 'a(?=b)'")).contains("look-around"));
    let error = refused(&selection(&format!("n: '{}'", "a".repeat(4_097))));
    assert!(error.contains("longer than 4096 characters"), "{error:.200}");
    let error = refused(&selection(&format!("n: '{}'", "a*".repeat(300))));
    assert!(error.contains("with wildcards inside is longer than 512"), "{error:.200}");
}

#[test]
fn conditions_have_a_length_and_a_depth() {
    let rule = |condition: &str| refused(&format!("  sel:\n    a: b\n  condition: {condition}\n"));
    let deep = format!("{}sel{}", "(".repeat(10_000), ")".repeat(10_000));
    for condition in [deep, format!("{}sel", "not ".repeat(4_000))] {
        assert!(rule(&condition).contains("nested deeper than 64 levels"));
    }
    let long = format!("sel{}", " or sel".repeat(3_000));
    assert!(rule(&long).contains("longer than 16384 bytes"));
}

#[test]
fn what_a_condition_uses_again_and_again_is_counted_each_time() {
    let values = list("n", (0..5_000).map(|it| format!("v{it}")));
    let condition = format!("1 of them{}", " or 1 of them".repeat(1_000));
    let text = format!("  sel:\n    {values}\n  condition: {condition}\n");
    assert!(refused(&text).contains("more than 20000 values"));
}

#[test]
fn yaml_has_a_depth_and_a_size() {
    let deep = format!("title: T\na: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused_text(&deep).contains("more than 256 brackets open"));
    let nested = format!("title: T\na: {}{}\n", "[".repeat(200), "]".repeat(200));
    assert!(refused_text(&nested).contains("recursion limit"));
    let mut laughs = String::from("title: T\na0: &a0 lol\n");
    for at in 1..60 {
        writeln!(laughs, "a{at}: &a{at} [*a{0}, *a{0}]", at - 1).unwrap();
    }
    assert!(!refused_text(&laughs).is_empty());
    let uses =
        format!("title: T\na: &a [{}]\nb: [{}]\n", "x, ".repeat(2_000), "*a, ".repeat(2_000));
    assert!(refused_text(&uses).contains("more than 200000 values"));
    let long = format!("title: T\na: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(20));
    assert!(refused_text(&long).contains("more than 16777216 bytes of text"));
}

#[test]
fn documents_take_over_only_so_much_from_others() {
    let global = format!("action: global\ndescription: {}\n---\n", "x".repeat(1 << 20));
    let rule = "title: T\ndetection:\n  sel:\n    a: b\n  condition: sel\n---\n";
    let error = refused_text(&format!("{global}{}", rule.repeat(100)));
    assert!(error.contains("take over more than 67108864 bytes"), "{error:.300}");
}

#[test]
fn the_documents_examples_load_and_mean_what_they_say() {
    let text = std::fs::read_to_string("docs/sigma.md").unwrap();
    let rules: Vec<&str> =
        text.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next()).collect();
    let rules: Vec<&str> = rules.into_iter().filter(|it| it.starts_with("title:")).collect();
    assert!(rules.len() >= 3);
    let texts = rules.iter().map(|it| ("docs/sigma.md", *it));
    let loaded = load_text(texts, &LoadOptions { shipped: None, ..options() });
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.rules.len() + 1, rules.len(), "one is a filter");
}
