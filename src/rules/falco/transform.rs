//! Falco's transformers: texts in, texts out.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::field::Type;
use super::term::{Shape, Term};
use super::values::Values;

/// A transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Transform {
    Lower,
    Upper,
    /// Decodes Base64.
    Base64,
    Basename,
    /// How many values a list has; else how many bytes a text.
    Length,
    Join,
    Concat,
    /// Options and their arguments out of a command line's words; with a letter, the
    /// last argument of that option alone.
    Options(Option<char>),
}

/// Why a transformer cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum TransformError {
    #[error(
        "unknown transformer \"{0}\": tolower, toupper, b64, basename, len, join, concat, getopt or val"
    )]
    Unknown(String),
    #[error("transformer \"{name}\" takes {takes}")]
    Takes { name: &'static str, takes: &'static str },
    #[error("transformer \"{0}\" takes no argument in brackets")]
    NoSelector(String),
}

const NAMES: [(&str, Transform); 8] = [
    ("tolower", Transform::Lower),
    ("toupper", Transform::Upper),
    ("b64", Transform::Base64),
    ("basename", Transform::Basename),
    ("len", Transform::Length),
    ("join", Transform::Join),
    ("concat", Transform::Concat),
    ("getopt", Transform::Options(None)),
];

/// Base64 with or without its padding, as Falco takes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Transform {
    /// The transformer of this name, if it takes such arguments; `None` is `val`, which
    /// changes nothing.
    pub(super) fn of(
        name: &str,
        selector: Option<&str>,
        arguments: &[Term],
    ) -> Result<Option<Transform>, TransformError> {
        let shapes: Vec<Shape> = arguments.iter().map(Term::shape).collect();
        if name == "val" {
            return match (shapes.len(), selector) {
                (1, None) => Ok(None),
                (1, Some(_)) => Err(TransformError::NoSelector(name.to_owned())),
                _ => Err(TransformError::Takes { name: "val", takes: "one field" }),
            };
        }
        let found = NAMES.iter().find(|(it, _)| *it == name).map(|(_, it)| *it);
        let transform = found.ok_or_else(|| TransformError::Unknown(name.to_owned()))?;
        transform.check(&shapes)?;
        match (transform, selector) {
            (_, None) => Ok(Some(transform)),
            (Transform::Options(_), Some(letter)) => {
                let mut chars = letter.chars();
                match (chars.next(), chars.next()) {
                    (Some(only), None) => Ok(Some(Transform::Options(Some(only)))),
                    _ => Err(TransformError::Takes {
                        name: "getopt",
                        takes: "one letter in brackets",
                    }),
                }
            }
            (_, Some(_)) => Err(TransformError::NoSelector(name.to_owned())),
        }
    }

    fn check(self, shapes: &[Shape]) -> Result<(), TransformError> {
        let text = |shape: &Shape| shape.kind == Type::Text;
        let lone = |shape: &Shape| text(shape) && !shape.list;
        let (fits, takes) = match self {
            Transform::Lower | Transform::Upper | Transform::Base64 | Transform::Basename => {
                (matches!(shapes, [one] if text(one)), "one text or list of texts")
            }
            Transform::Length => {
                (matches!(shapes, [one] if one.list || text(one)), "one text or list")
            }
            Transform::Join => {
                (matches!(shapes, [by, of] if lone(by) && of.list), "a separator and a list")
            }
            Transform::Concat => (shapes.len() > 1 && shapes.iter().all(lone), "two texts or more"),
            Transform::Options(_) => (
                matches!(shapes, [words, options] if words.list && text(words) && lone(options)),
                "a list of words and a text of options",
            ),
        };
        if fits { Ok(()) } else { Err(TransformError::Takes { name: self.name(), takes }) }
    }

    pub(super) fn name(self) -> &'static str {
        let same = |it: &Transform| std::mem::discriminant(it) == std::mem::discriminant(&self);
        NAMES.iter().find(|(_, it)| same(it)).map_or("", |(name, _)| *name)
    }

    /// The option in brackets.
    pub(super) fn selected(self) -> Option<char> {
        match self {
            Transform::Options(selected) => selected,
            _ => None,
        }
    }

    pub(super) fn shape(self, arguments: &[Term]) -> Shape {
        let list = arguments.first().is_some_and(|it| it.shape().list);
        match self {
            Transform::Lower | Transform::Upper | Transform::Base64 | Transform::Basename => {
                Shape { kind: Type::Text, list }
            }
            Transform::Length => Shape { kind: Type::Number, list: false },
            Transform::Join | Transform::Concat => Shape { kind: Type::Text, list: false },
            Transform::Options(selected) => Shape { kind: Type::Text, list: selected.is_none() },
        }
    }

    /// The values it makes of its arguments' values; none when one of them is missing.
    pub(super) fn apply<'v>(self, arguments: Vec<Values<'v>>, counts: bool) -> Values<'v> {
        if arguments.iter().any(Vec::is_empty) {
            return Values::new();
        }
        let mut arguments = arguments.into_iter();
        let first = arguments.next().unwrap_or_default();
        let each = |change: &dyn Fn(&str) -> Option<String>| {
            let changed: Option<Values<'v>> =
                first.iter().map(|it| change(it).map(Cow::Owned)).collect();
            changed.unwrap_or_default()
        };
        match self {
            Transform::Lower => each(&|it| Some(it.to_ascii_lowercase())),
            Transform::Upper => each(&|it| Some(it.to_ascii_uppercase())),
            Transform::Basename => each(&|it| it.rsplit('/').next().map(str::to_owned)),
            Transform::Base64 => each(&|it| {
                let bytes = BASE64.decode(it).ok()?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }),
            Transform::Length => {
                let length =
                    if counts { first.len() } else { first.first().map_or(0, |it| it.len()) };
                vec![length.to_string().into()]
            }
            Transform::Join => {
                let separator = first.first().cloned().unwrap_or_default();
                vec![arguments.next().unwrap_or_default().join(&*separator).into()]
            }
            Transform::Concat => {
                let rest = arguments.filter_map(|it| it.into_iter().next());
                vec![first.into_iter().take(1).chain(rest).collect::<String>().into()]
            }
            Transform::Options(selected) => {
                let letters = arguments.next().unwrap_or_default();
                let letters = letters.first().map(|it| &**it).unwrap_or_default();
                options(&first, letters, selected)
            }
        }
    }
}

/// Walks words as getopt(3) does: `-ab`, `-a value`, `-avalue`, up to `--` or a word that
/// is no option; words that begin with two dashes are passed over.
fn options<'v>(words: &[Cow<'v, str>], letters: &str, selected: Option<char>) -> Values<'v> {
    let letters = letters.strip_prefix(':').unwrap_or(letters);
    let known = |option: char| option != ':' && letters.contains(option);
    let takes = |option: char| {
        let after = letters.split_once(option).map(|(_, after)| after);
        after.is_some_and(|it| it.starts_with(':'))
    };
    let mut found = Values::new();
    let mut last: Option<String> = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(cluster) = word.strip_prefix('-').filter(|it| !it.is_empty() && *it != "-") else {
            break;
        };
        if cluster.starts_with('-') {
            continue;
        }
        let mut rest = cluster.chars();
        while let Some(option) = rest.next() {
            if !known(option) {
                found.push("?".into());
                continue;
            }
            let wanted = selected.is_none_or(|it| it == option);
            if !takes(option) {
                if wanted {
                    found.push(option.to_string().into());
                    last = Some(option.to_string());
                }
                continue;
            }
            let attached = Some(rest.as_str()).filter(|it| !it.is_empty());
            let value = attached.or_else(|| words.next().map(|it| &**it));
            if wanted {
                // An argument that is missing is an empty one.
                if value.is_some() {
                    found.push(option.to_string().into());
                }
                let value = value.unwrap_or_default().to_owned();
                found.push(value.clone().into());
                last = Some(value);
            }
            break;
        }
    }
    match selected {
        None => found,
        Some(_) => last.map(Cow::Owned).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Values<'_> {
        text.split(' ').map(Cow::Borrowed).collect()
    }

    #[test]
    fn texts_are_transformed() {
        let apply = |transform: Transform, text| transform.apply(vec![words(text)], false);
        assert_eq!(apply(Transform::Lower, "ABÄ"), ["abÄ"]);
        assert_eq!(apply(Transform::Upper, "abä B"), ["ABä", "B"]);
        assert_eq!(apply(Transform::Basename, "/a/b c d/"), ["b", "c", ""]);
        assert_eq!(apply(Transform::Base64, "Zm9v Zm8="), ["foo", "fo"]);
        assert_eq!(apply(Transform::Base64, "Zm8"), ["fo"]);
        assert!(apply(Transform::Base64, "Zm9v %").is_empty());
        assert_eq!(apply(Transform::Length, "äb c"), ["3"]);
        assert_eq!(Transform::Length.apply(vec![words("a b")], true), ["2"]);
        assert_eq!(Transform::Join.apply(vec![words(","), words("a b")], false), ["a,b"]);
        let three = vec![words("a"), words("-"), words("b")];
        assert_eq!(Transform::Concat.apply(three, false), ["a-b"]);
        assert!(Transform::Concat.apply(vec![words("a"), vec![]], false).is_empty());
    }

    #[test]
    fn options_are_getopts() {
        let all = |text, letters: &str| options(&words(text), letters, None).join(" ");
        assert_eq!(all("-ab -c", "abc"), "a b c");
        assert_eq!(all("-n 5 -mx y", "n:m:"), "n 5 m x");
        assert_eq!(all("-x --long -a file -b", "ab"), "? a");
        assert_eq!(all("-a -- -b", "ab"), "a");
        assert_eq!(all("-n", ":n:"), "");
        let one = |text, letter| options(&words(text), "n:v", Some(letter));
        assert_eq!(one("-n 1 -v -n2", 'n'), ["2"]);
        assert_eq!(one("-v", 'v'), ["v"]);
        assert!(one("-v", 'n').is_empty());
    }
}
