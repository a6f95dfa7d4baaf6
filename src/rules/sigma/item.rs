//! One line of a detection, `field|modifiers: values`, as an item of the
//! intermediate form. Modifiers apply from left to right.

use rsigma_parser::{DetectionItem, Modifier, SigmaValue};

use super::Placeholders;
use super::encode::{self, Utf16};
use super::value::{self, VARIANTS_MAX};
use crate::rules::compile::VALUES_MAX;
use crate::rules::ir::{Comparison, DASHES, Expr, Item, Mode, Piece, Place, Test, TimePart};

/// A text that a rule looks for may be this long.
pub(in crate::rules) const TEXT_CHARS_MAX: usize = 4_096;

/// A text with wildcards inside may be this long: comparing it costs up to its length
/// times that of the event's text.
pub(in crate::rules) const WILDCARD_CHARS_MAX: usize = 512;

/// Why a detection makes no sense.
#[derive(Debug, thiserror::Error)]
pub(in crate::rules) enum SigmaFault {
    #[error("modifier \"{0}\" cannot stand with \"{1}\"")]
    Together(&'static str, &'static str),
    #[error("modifier \"{0}\" cannot stand after \"{1}\"")]
    Order(&'static str, &'static str),
    #[error("modifier \"all\" needs more than one value")]
    AllOfOne,
    #[error("modifier \"{modifier}\" needs {needs}, not {value}")]
    Value { modifier: &'static str, needs: &'static str, value: String },
    #[error("modifier \"{0}\" has no meaning without \"re\"")]
    FlagAlone(&'static str),
    #[error(
        "unknown placeholder \"%{0}%\"; give it values with --placeholders, or in the configuration"
    )]
    Placeholder(String),
    #[error("one value stands for more than {VARIANTS_MAX}")]
    Variants,
    #[error(
        "more than {VALUES_MAX} values in one rule, counted as often as the condition uses them"
    )]
    Values,
    #[error("a text is longer than {TEXT_CHARS_MAX} characters")]
    Text,
    #[error("a text with wildcards inside is longer than {WILDCARD_CHARS_MAX} characters")]
    Wildcards,
    #[error("modifier \"{0}\" cannot encode wildcards")]
    EncodedWildcard(&'static str),
    #[error("the value is no text after \"{0}\"; a \"base64\" modifier is missing")]
    NotText(&'static str),
    #[error("\"{0}\" holds no value")]
    NoValues(String),
    #[error("search identifier \"{0}\" is empty")]
    EmptySearch(String),
    #[error("the condition names \"{0}\", which is no search identifier")]
    UnknownSearch(String),
    #[error("there is no condition")]
    NoCondition,
    #[error("keywords cannot be \"{0}\"")]
    Keyword(&'static str),
}

/// Reads one item of a detection. Without a field it is a keyword, unless it stands
/// in an array's block (`member`): there it is the member itself.
pub(super) fn item(
    item: &DetectionItem,
    keyword: bool,
    placeholders: &Placeholders,
) -> Result<Expr, SigmaFault> {
    let name = &item.field.name;
    if item.values.is_empty() {
        return Err(SigmaFault::NoValues(name.clone().unwrap_or_default()));
    }
    let plan = Plan::new(&item.field.modifiers)?;
    if plan.all && item.values.len() == 1 {
        return Err(SigmaFault::AllOfOne);
    }
    let plan = if keyword { plan.of_keyword()? } else { plan };
    let mut groups: Vec<Vec<Test>> = Vec::new();
    let mut count = 0;
    for value in &item.values {
        if keyword && *value == SigmaValue::Null {
            return Err(SigmaFault::Keyword("null"));
        }
        let mut tests = Vec::new();
        plan.tests(value, placeholders, &mut tests)?;
        count += tests.len();
        if count > VALUES_MAX {
            return Err(SigmaFault::Values);
        }
        groups.push(tests);
    }
    let one = |tests: Vec<Test>, mode| {
        let item = Item { field: name.clone(), tests, mode };
        if keyword { Expr::Keywords(item) } else { Expr::Item(item) }
    };
    if !plan.all {
        let mode = if plan.negated { Mode::None } else { Mode::Any };
        return Ok(one(groups.concat(), mode));
    }
    // A value may stand for several texts, any of which will do for it.
    let every = if groups.iter().all(|it| it.len() == 1) {
        one(groups.concat(), Mode::All)
    } else {
        Expr::All(groups.into_iter().map(|it| one(it, Mode::Any)).collect())
    };
    Ok(match (plan.negated, keyword) {
        (false, _) => every,
        (true, true) => Expr::Not(Box::new(every)),
        // What is missing differs from nothing.
        (true, false) => {
            let there = one(vec![Test::Exists(true)], Mode::Any);
            Expr::All(vec![there, Expr::Not(Box::new(every))])
        }
    })
}

/// What the modifiers of one item come to.
#[derive(Debug, Default)]
struct Plan {
    place: Option<(Place, &'static str)>,
    all: bool,
    cased: bool,
    negated: bool,
    kind: Kind,
    changes: Vec<Change>,
    flags: String,
}

/// What the values are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Regex,
    Cidr,
    Exists,
    Field,
    Compare(Comparison),
    Time(TimePart, Comparison),
}

/// A change to a string value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Expand,
    Windash,
    Utf16(Utf16),
    Base64,
    Base64Offset,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Expand => "expand",
            Change::Windash => "windash",
            Change::Utf16(_) => "utf16",
            Change::Base64 => "base64",
            Change::Base64Offset => "base64offset",
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "no modifier",
            Kind::Regex => "re",
            Kind::Cidr => "cidr",
            Kind::Exists => "exists",
            Kind::Field => "fieldref",
            Kind::Compare(_) => "a comparison",
            Kind::Time(..) => "a part of a time",
        }
    }
}

impl Plan {
    fn new(modifiers: &[Modifier]) -> Result<Plan, SigmaFault> {
        let mut plan = Plan::default();
        for modifier in modifiers {
            plan.add(*modifier)?;
        }
        let text = matches!(plan.kind, Kind::Plain | Kind::Field);
        if let (false, Some((_, place))) = (text, plan.place) {
            return Err(SigmaFault::Together(place, plan.kind.name()));
        }
        // Networks may come from a list; whatever else changes a value changes text.
        let listed = plan.kind == Kind::Cidr && plan.changes == [Change::Expand];
        let changeable = plan.kind == Kind::Plain || listed;
        if let (false, Some(change)) = (changeable, plan.changes.first()) {
            return Err(SigmaFault::Together(change.name(), plan.kind.name()));
        }
        if plan.kind != Kind::Regex && !plan.flags.is_empty() {
            return Err(SigmaFault::FlagAlone("i, m, s"));
        }
        Ok(plan)
    }

    fn add(&mut self, modifier: Modifier) -> Result<(), SigmaFault> {
        match modifier {
            Modifier::Contains => self.place(Place::Anywhere, "contains")?,
            Modifier::StartsWith => self.place(Place::Start, "startswith")?,
            Modifier::EndsWith => self.place(Place::End, "endswith")?,
            Modifier::All => self.all = true,
            Modifier::Cased => self.cased = true,
            Modifier::Neq => self.negated = true,
            Modifier::Expand => self.change(Change::Expand)?,
            Modifier::WindAsh => self.change(Change::Windash)?,
            Modifier::Wide => self.change(Change::Utf16(Utf16::Little))?,
            Modifier::Utf16be => self.change(Change::Utf16(Utf16::Big))?,
            Modifier::Utf16 => self.change(Change::Utf16(Utf16::Marked))?,
            Modifier::Base64 => self.change(Change::Base64)?,
            Modifier::Base64Offset => self.change(Change::Base64Offset)?,
            Modifier::Re => self.kind(Kind::Regex)?,
            Modifier::Cidr => self.kind(Kind::Cidr)?,
            Modifier::Exists => self.kind(Kind::Exists)?,
            Modifier::FieldRef => self.kind(Kind::Field)?,
            Modifier::IgnoreCase => self.flags.push('i'),
            Modifier::Multiline => self.flags.push('m'),
            Modifier::DotAll => self.flags.push('s'),
            Modifier::Lt => self.compare(Comparison::Less)?,
            Modifier::Lte => self.compare(Comparison::LessOrEqual)?,
            Modifier::Gt => self.compare(Comparison::Greater)?,
            Modifier::Gte => self.compare(Comparison::GreaterOrEqual)?,
            Modifier::Minute => self.time(TimePart::Minute)?,
            Modifier::Hour => self.time(TimePart::Hour)?,
            Modifier::Day => self.time(TimePart::Day)?,
            Modifier::Week => self.time(TimePart::Week)?,
            Modifier::Month => self.time(TimePart::Month)?,
            Modifier::Year => self.time(TimePart::Year)?,
        }
        Ok(())
    }

    fn place(&mut self, place: Place, name: &'static str) -> Result<(), SigmaFault> {
        if let Some((_, other)) = self.place {
            return Err(SigmaFault::Together(other, name));
        }
        self.place = Some((place, name));
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<(), SigmaFault> {
        // What is encoded must be the value alone, without the wildcards a place adds.
        let encodes = !matches!(change, Change::Expand | Change::Windash);
        if let (true, Some((_, place))) = (encodes, self.place) {
            return Err(SigmaFault::Order(change.name(), place));
        }
        if change == Change::Base64Offset && self.changes.contains(&change) {
            return Err(SigmaFault::Together("base64offset", "base64offset"));
        }
        let wide = |it: &Change| matches!(it, Change::Utf16(_));
        if wide(&change) && self.changes.iter().any(wide) {
            return Err(SigmaFault::Together("utf16", "utf16"));
        }
        self.changes.push(change);
        Ok(())
    }

    fn kind(&mut self, kind: Kind) -> Result<(), SigmaFault> {
        if self.kind != Kind::Plain {
            return Err(SigmaFault::Together(self.kind.name(), kind.name()));
        }
        self.kind = kind;
        Ok(())
    }

    fn compare(&mut self, comparison: Comparison) -> Result<(), SigmaFault> {
        match self.kind {
            Kind::Time(part, Comparison::Equal) => self.kind = Kind::Time(part, comparison),
            _ => self.kind(Kind::Compare(comparison))?,
        }
        Ok(())
    }

    fn time(&mut self, part: TimePart) -> Result<(), SigmaFault> {
        match self.kind {
            Kind::Compare(comparison) => self.kind = Kind::Time(part, comparison),
            _ => self.kind(Kind::Time(part, Comparison::Equal))?,
        }
        Ok(())
    }

    /// Keywords are looked for anywhere in a value, and have no field to be compared with.
    fn of_keyword(mut self) -> Result<Plan, SigmaFault> {
        match self.kind {
            Kind::Plain if self.place.is_none() => self.place = Some((Place::Anywhere, "contains")),
            Kind::Plain | Kind::Regex | Kind::Cidr => {}
            other => return Err(SigmaFault::Keyword(other.name())),
        }
        Ok(self)
    }

    /// Adds the tests one value comes to.
    fn tests(
        &self,
        value: &SigmaValue,
        placeholders: &Placeholders,
        tests: &mut Vec<Test>,
    ) -> Result<(), SigmaFault> {
        let wrong = |needs| {
            let modifier = self.kind.name();
            Err(SigmaFault::Value { modifier, needs, value: shown(value) })
        };
        let test = match (self.kind, value) {
            (Kind::Plain, _) => return self.plain(value, placeholders, tests),
            (Kind::Regex, SigmaValue::String(text)) => self.regex(&text.original),
            (Kind::Regex, SigmaValue::Integer(number)) => self.regex(&number.to_string()),
            (Kind::Regex, _) => return wrong("a pattern"),
            (Kind::Cidr, SigmaValue::String(text)) if self.changes.is_empty() => {
                Test::Cidr(text.original.clone())
            }
            (Kind::Cidr, SigmaValue::String(text)) => {
                for pattern in value::expanded(&text.original, placeholders)? {
                    tests.push(Test::Cidr(value::written(&pattern)));
                }
                return Ok(());
            }
            (Kind::Cidr, _) => return wrong("a network"),
            (Kind::Exists, SigmaValue::Bool(yes)) => Test::Exists(*yes),
            (Kind::Exists, _) => return wrong("true or false"),
            (Kind::Field, SigmaValue::String(text)) => Test::SameAs {
                field: text.original.clone(),
                place: self.place.map_or(Place::Whole, |(place, _)| place),
                cased: self.cased,
            },
            (Kind::Field, _) => return wrong("a field's name"),
            (Kind::Compare(comparison), value) => match number(value) {
                Some(number) => Test::Compare(comparison, number),
                None => return wrong("a number"),
            },
            (Kind::Time(part, comparison), value) => match number(value) {
                Some(number) => Test::Time { part, comparison, number },
                None => return wrong("a number"),
            },
        };
        tests.push(test);
        Ok(())
    }

    fn regex(&self, pattern: &str) -> Test {
        let flags = &self.flags;
        Test::Regex(if flags.is_empty() {
            pattern.to_owned()
        } else {
            format!("(?{flags}){pattern}")
        })
    }

    fn plain(
        &self,
        value: &SigmaValue,
        placeholders: &Placeholders,
        tests: &mut Vec<Test>,
    ) -> Result<(), SigmaFault> {
        let bare = self.place.is_none() && self.changes.is_empty();
        let text = match value {
            SigmaValue::Null if bare => {
                tests.push(Test::Null);
                return Ok(());
            }
            SigmaValue::Null => {
                let modifier = self.place.map(|(_, name)| name);
                let modifier = modifier.or(self.changes.first().map(|it| it.name()));
                return Err(SigmaFault::Value {
                    modifier: modifier.unwrap_or_default(),
                    needs: "text",
                    value: shown(value),
                });
            }
            SigmaValue::Bool(yes) if bare => {
                tests.push(Test::Bool(*yes));
                return Ok(());
            }
            value => {
                match number(value).filter(|_| bare && !matches!(value, SigmaValue::String(_))) {
                    Some(number) => {
                        tests.push(Test::Number(number));
                        return Ok(());
                    }
                    None => shown(value),
                }
            }
        };
        for pattern in self.patterns(&text, placeholders)? {
            bounded(&pattern)?;
            tests.push(Test::Text { pattern, cased: self.cased });
        }
        Ok(())
    }

    /// The string after every change, with the wildcards its place adds.
    fn patterns(
        &self,
        text: &str,
        placeholders: &Placeholders,
    ) -> Result<Vec<Vec<Piece>>, SigmaFault> {
        let mut patterns = if self.changes.contains(&Change::Expand) {
            value::expanded(text, placeholders)?
        } else {
            vec![value::pieces(text)]
        };
        let mut bytes: Option<(Vec<Vec<u8>>, &'static str)> = None;
        for change in &self.changes {
            let name = change.name();
            match change {
                Change::Expand => {}
                Change::Windash => {
                    patterns = patterns.iter().map(|it| value::windash(it)).collect();
                }
                Change::Utf16(order) => {
                    let texts = texts(&patterns, name)?;
                    bytes =
                        Some((texts.iter().map(|it| encode::utf16(it, *order)).collect(), name));
                }
                Change::Base64 | Change::Base64Offset => {
                    let plain = || -> Result<Vec<Vec<u8>>, SigmaFault> {
                        Ok(texts(&patterns, name)?.into_iter().map(String::into_bytes).collect())
                    };
                    let from = bytes.take().map_or_else(plain, |(bytes, _)| Ok(bytes))?;
                    let encoded = from.iter().flat_map(|it| match change {
                        Change::Base64Offset => encode::base64_offsets(it).to_vec(),
                        _ => vec![encode::base64(it)],
                    });
                    patterns = encoded.map(|it| it.chars().map(Piece::Char).collect()).collect();
                }
            }
        }
        if let Some((bytes, name)) = bytes {
            patterns = bytes
                .into_iter()
                .map(|it| String::from_utf8(it).map_err(|_| SigmaFault::NotText(name)))
                .map(|it| it.map(|text| text.chars().map(Piece::Char).collect()))
                .collect::<Result<_, _>>()?;
        }
        Ok(patterns.into_iter().map(|it| self.placed(it)).collect())
    }

    fn placed(&self, mut pattern: Vec<Piece>) -> Vec<Piece> {
        // What was encoded at an unknown offset always stands inside of something.
        let inside = self.changes.contains(&Change::Base64Offset).then_some(Place::Anywhere);
        let place = self.place.map(|(place, _)| place).or(inside).unwrap_or(Place::Whole);
        if matches!(place, Place::Anywhere | Place::End) {
            pattern.insert(0, Piece::Many);
        }
        if matches!(place, Place::Anywhere | Place::Start) {
            pattern.push(Piece::Many);
        }
        pattern
    }
}

fn bounded(pattern: &[Piece]) -> Result<(), SigmaFault> {
    let inner = pattern.strip_prefix(&[Piece::Many]).unwrap_or(pattern);
    let inner = inner.strip_suffix(&[Piece::Many]).unwrap_or(inner);
    if inner.len() > TEXT_CHARS_MAX {
        return Err(SigmaFault::Text);
    }
    let wild =
        inner.len() > WILDCARD_CHARS_MAX && inner.iter().any(|it| !matches!(it, Piece::Char(_)));
    if wild { Err(SigmaFault::Wildcards) } else { Ok(()) }
}

/// The literal texts of patterns, every dash in every form.
fn texts(patterns: &[Vec<Piece>], modifier: &'static str) -> Result<Vec<String>, SigmaFault> {
    let mut found = Vec::new();
    for pattern in patterns {
        let mut texts = vec![String::new()];
        for piece in pattern {
            match piece {
                Piece::Char(c) => texts.iter_mut().for_each(|it| it.push(*c)),
                Piece::Dash => {
                    let with = |text: &String| DASHES.map(|dash| format!("{text}{dash}"));
                    texts = texts.iter().flat_map(with).collect();
                }
                Piece::One | Piece::Many => return Err(SigmaFault::EncodedWildcard(modifier)),
            }
            if texts.len() + found.len() > VARIANTS_MAX {
                return Err(SigmaFault::Variants);
            }
        }
        found.append(&mut texts);
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "Sigma compares numbers as f64")]
fn number(value: &SigmaValue) -> Option<f64> {
    match value {
        SigmaValue::Integer(number) => Some(*number as f64),
        SigmaValue::Float(number) => Some(*number),
        SigmaValue::String(text) => text.original.trim().parse().ok(),
        SigmaValue::Bool(_) | SigmaValue::Null => None,
    }
}

fn shown(value: &SigmaValue) -> String {
    match value {
        SigmaValue::String(text) => text.original.clone(),
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(yes) => yes.to_string(),
        SigmaValue::Null => "null".to_owned(),
    }
}
