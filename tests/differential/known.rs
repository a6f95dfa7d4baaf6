//! Where the two engines differ on purpose. Each difference has a name, which is in the table of
//! `docs/sigma.md`, and a predicate that says of one line of a rule, or of the whole rule, whether
//! the difference can show in this event. Everything else is an error in one of them.

use rsigma_parser::detection_name_matches;
use serde_json::Value;

use crate::rule::{Item, Rule, Searches};

/// One difference that a single line of a rule can make.
type OfItem = fn(&Item, &[&Value], &Value) -> bool;

const OF_ITEMS: &[(&str, OfItem)] = &[
    ("exists of null", exists_of_null),
    ("null in a list of values", null_in_a_list),
    ("null behind a list", null_behind_a_list),
    ("blocks behind a list", blocks_behind_a_list),
    ("bool words", bool_words),
    ("numbers in texts", numbers_in_texts),
    ("how numbers are written", how_numbers_are_written),
    ("wildcards and line breaks", wildcards_and_line_breaks),
    ("wildcards at a place", wildcards_at_a_place),
    ("letters beyond ASCII", letters_beyond_ascii),
    ("keywords in numbers", keywords_in_numbers),
    ("keywords that must all be there", keywords_all),
    ("wildcards in keywords of a filter", keywords_of_filters),
    ("fieldref of lists and objects", fieldref_of_containers),
    ("fieldref with cased", fieldref_cased),
    ("fieldref in a block", fieldref_in_a_block),
    ("times", times),
    ("keys with dots", keys_with_dots),
    ("windash", windash),
    ("base64offset", base64offset),
];

/// One difference that a rule as a whole can make.
type OfRule = fn(&Rule) -> bool;

const OF_RULES: &[(&str, OfRule)] =
    &[("several stars in a pattern", several_stars), ("patterns of filters", patterns_of_filters)];

/// The name of a difference that explains two answers.
pub(crate) fn explained(rule: &Rule, event: &Value) -> Option<&'static str> {
    let of_rule = OF_RULES.iter().find(|(_, shows)| shows(rule)).map(|(name, _)| *name);
    of_rule.or_else(|| {
        rule.items.iter().find_map(|item| {
            let mut values = Vec::new();
            match &item.field {
                Some(field) => at(event, field, &mut values),
                None => leaves(event, &mut values),
            }
            let found = OF_ITEMS.iter().find(|(_, shows)| shows(item, &values, event));
            found.map(|(name, _)| *name)
        })
    })
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OF_ITEMS.iter().map(|(name, _)| *name).chain(OF_RULES.iter().map(|(name, _)| *name))
}

/// Every value at a dotted path, through lists.
fn at<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    if let Some(value) = value.get(path) {
        found.push(value);
        return;
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        Value::Array(members) => members.iter().for_each(|it| at(it, path, found)),
        Value::Object(_) if !rest.is_empty() => {
            if let Some(inner) = value.get(first) {
                at(inner, rest, found);
            }
        }
        _ => {}
    }
}

/// What is in no list and no object.
fn leaves<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(members) => members.iter().for_each(|it| leaves(it, found)),
        Value::Object(members) => members.values().for_each(|it| leaves(it, found)),
        leaf => found.push(leaf),
    }
}

fn flat<'v>(values: &[&'v Value]) -> Vec<&'v Value> {
    let mut found = Vec::new();
    for value in values {
        match value {
            Value::Array(members) => found.extend(flat(&members.iter().collect::<Vec<_>>())),
            other => found.push(other),
        }
    }
    found
}

fn texts<'v>(values: &[&'v Value]) -> Vec<&'v str> {
    flat(values).into_iter().filter_map(Value::as_str).collect()
}

/// The specification: `exists` asks whether a field is there, "be it empty or null".
fn exists_of_null(item: &Item, values: &[&Value], _: &Value) -> bool {
    let values = if item.block.is_some() { flat(values) } else { values.to_vec() };
    item.is("exists") && values.iter().any(|it| it.is_null())
}

/// A missing field is one of the values.
fn null_in_a_list(item: &Item, values: &[&Value], _: &Value) -> bool {
    let missing = values.is_empty() || values.len() > 1 || item.block.is_some();
    missing && item.values.len() > 1 && item.values.contains(&Value::Null)
}

/// One of several objects in a list has `null`.
fn null_behind_a_list(item: &Item, values: &[&Value], _: &Value) -> bool {
    item.values.contains(&Value::Null) && values.len() > 1
}

/// Several objects of a list each have the list that a block is about: each is looked into.
fn blocks_behind_a_list(item: &Item, _: &[&Value], event: &Value) -> bool {
    let mut lists = Vec::new();
    item.block.as_deref().into_iter().for_each(|it| at(event, it, &mut lists));
    lists.len() > 1
}

/// The other engine takes 1 and yes for true.
fn bool_words(item: &Item, values: &[&Value], _: &Value) -> bool {
    let word = |it: &&str| ["1", "0", "yes", "no"].contains(&it.to_lowercase().as_str());
    item.values.iter().any(Value::is_boolean) && texts(values).iter().any(word)
}

/// White space around a number, and numbers without end.
fn numbers_in_texts(item: &Item, values: &[&Value], _: &Value) -> bool {
    let compares = ["lt", "lte", "gt", "gte"].iter().any(|it| item.is(it));
    let numbers = compares || item.values.iter().any(Value::is_number);
    let odd = |it: &&str| match it.trim().parse::<f64>() {
        Ok(number) => !number.is_finite() || it.trim() != *it,
        Err(_) => false,
    };
    numbers && texts(values).iter().any(odd)
}

/// A number that is searched like text is the text that the event holds: 42.0, not 42.
fn how_numbers_are_written(item: &Item, values: &[&Value], event: &Value) -> bool {
    let mut values = values.to_vec();
    if item.is("fieldref") {
        item.texts().for_each(|it| at(event, it, &mut values));
    } else if !item.values.iter().any(Value::is_string) {
        return false;
    }
    let odd = |it: &&Value| {
        it.is_f64() && it.as_f64().is_some_and(|number| number.to_string() != it.to_string())
    };
    flat(&values).iter().any(odd)
}

/// Whether a text has a wildcard that no backslash takes its meaning from.
fn wild(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|c| {
        let wild = matches!(c, '*' | '?') && !escaped;
        escaped = c == '\\' && !escaped;
        wild
    })
}

/// `startswith` is about the start of the value, also of a text with wildcards.
fn wildcards_at_a_place(item: &Item, _: &[&Value], _: &Value) -> bool {
    (item.is("startswith") || item.is("endswith")) && item.texts().any(wild)
}

/// `*` and `?` stand for line breaks as well.
fn wildcards_and_line_breaks(item: &Item, values: &[&Value], _: &Value) -> bool {
    item.texts().any(wild) && !item.is("re") && texts(values).iter().any(|it| it.contains('\n'))
}

/// Letters whose case depends on what stands around them, or that have several.
fn letters_beyond_ascii(item: &Item, values: &[&Value], event: &Value) -> bool {
    const FAMILIES: [(&[char], &[char]); 2] =
        [(&['Σ', 'σ', 'ς'], &['Σ', 'ς']), (&['s', 'S', 'ſ'], &['ſ'])];
    let mut values = values.to_vec();
    if item.is("fieldref") {
        item.texts().for_each(|it| at(event, it, &mut values));
        return texts(&values).iter().any(|it| it.contains(['Σ', 'ς', 'ſ']));
    }
    let texts = texts(&values);
    let meet = |(family, odd): (&[char], &[char])| {
        let known = |it: &str| it.contains(family) || item.is("re") || wild(it);
        let here =
            item.texts().any(|it| it.contains(odd)) && texts.iter().any(|it| it.contains(family));
        here || (item.texts().any(known) && texts.iter().any(|it| it.contains(odd)))
    };
    !item.is("cased") && FAMILIES.into_iter().any(meet)
}

/// Keywords are searched in numbers and bools too.
fn keywords_in_numbers(item: &Item, values: &[&Value], _: &Value) -> bool {
    let plain = |it: &str| it.to_lowercase().replace(['*', '?', '\\'], " ");
    let holds = |leaf: &&&Value| {
        let text = leaf.to_string();
        item.texts().any(|it| plain(it).split(' ').all(|part| text.contains(part)))
    };
    item.field.is_none()
        && values.iter().filter(|it| !it.is_string() && !it.is_null()).any(|it| holds(&it))
}

/// "Searched across the entire event": each may be in another value.
fn keywords_all(item: &Item, _: &[&Value], _: &Value) -> bool {
    item.field.is_none() && item.is("all")
}

/// A keyword is searched anywhere in a value, with wildcards too, and in a filter as in a rule.
fn keywords_of_filters(item: &Item, _: &[&Value], _: &Value) -> bool {
    item.field.is_none() && item.filters && item.texts().any(wild)
}

/// Lists are compared member by member; what is `null` or an object equals nothing.
fn fieldref_of_containers(item: &Item, values: &[&Value], event: &Value) -> bool {
    let odd = |values: &[&Value]| {
        values.len() > 1 || values.iter().any(|it| it.is_array() || it.is_null() || it.is_object())
    };
    let other = |it: &str| {
        let mut values = Vec::new();
        at(event, it, &mut values);
        odd(&values)
    };
    item.is("fieldref") && (odd(values) || item.texts().any(other))
}

/// Names in a block are those of the member, on both sides.
fn fieldref_in_a_block(item: &Item, _: &[&Value], _: &Value) -> bool {
    item.is("fieldref") && item.block.is_some()
}

fn fieldref_cased(item: &Item, values: &[&Value], event: &Value) -> bool {
    let mut values = values.to_vec();
    item.texts().for_each(|it| at(event, it, &mut values));
    item.is("fieldref") && item.is("cased") && values.iter().any(|it| !it.is_string())
}

/// A date alone is the start of that day.
fn times(item: &Item, values: &[&Value], _: &Value) -> bool {
    let part = ["minute", "hour", "day", "week", "month", "year"].iter().any(|it| item.is(it));
    part && texts(values).contains(&"2024-07-10")
}

/// `annotations.authorization.k8s.io/decision` finds the key of that name.
fn keys_with_dots(item: &Item, _: &[&Value], event: &Value) -> bool {
    // A member of a list under such a key, as in `c.d[0]`.
    if item.block.as_deref().is_some_and(|it| it.contains('.') && event.get(it).is_some()) {
        return true;
    }
    let dotted = |it: &str| it.starts_with("annotations.");
    let named = item.field.as_deref().is_some_and(dotted)
        || (item.is("fieldref") && item.texts().any(dotted));
    named && event.get("annotations").is_some()
}

/// All five dashes, and only where an option begins.
fn windash(item: &Item, _: &[&Value], _: &Value) -> bool {
    let same = |it: &str| {
        it.strip_prefix('-')
            .is_some_and(|it| it.starts_with(char::is_alphabetic) && !it.contains('-'))
    };
    item.is("windash") && !item.texts().all(same)
}

/// The other engine looks for letters that depend on what follows.
fn base64offset(item: &Item, _: &[&Value], _: &Value) -> bool {
    item.is("base64offset")
}

/// Stars at any place, and any number of them: the other engine takes the second for a letter.
fn several_stars(rule: &Rule) -> bool {
    let odd = |searches: &Searches| {
        let names = || searches.names.iter();
        let patterns = searches.patterns.iter().filter(|it| *it != "them");
        patterns.clone().any(|it| names().any(|name| fits(it, name) != theirs(it, name)))
    };
    odd(&rule.searches) || rule.filter.as_ref().is_some_and(odd)
}

/// Whether the pattern takes in the name; here `*` is any text, wherever it stands.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.split_at_checked(1), name.split_at_checked(1)) {
        (None, rest) => rest.is_none(),
        (Some(("*", after)), None) => fits(after, name),
        (Some(("*", after)), Some((_, rest))) => fits(after, name) || fits(pattern, rest),
        (Some((want, after)), Some((have, rest))) => want == have && fits(after, rest),
        (Some(_), None) => false,
    }
}

fn theirs(pattern: &str, name: &str) -> bool {
    match pattern {
        "them" => true,
        pattern => detection_name_matches(pattern, name),
    }
}

/// A pattern in a filter is about the filter's search identifiers, one in a rule about the rule's.
/// The other engine puts both under one roof.
fn patterns_of_filters(rule: &Rule) -> bool {
    let Some(filter) = &rule.filter else { return false };
    let added = || filter.names.iter().map(|it| format!("__filter_0_{it}"));
    let reaches = |it: &String| it != "them" && added().any(|name| theirs(it, &name));
    !filter.patterns.is_empty() || rule.searches.patterns.iter().any(reaches)
}
