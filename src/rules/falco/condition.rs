//! Reads a condition: Falco's grammar of filters, rule for rule.
//!
//! The grammar is that of `libsinsp`, with its oddities (`existsand x` holds two
//! tokens): a rule that Falco takes is taken here, and one it refuses is refused.

use super::ast::{Check, Condition, Operator, Quantity, Right, Term};
use super::lexer::Lexer;

/// Brackets, transformers and macros nested deeper than this are refused: every one
/// costs stack here, in the lowering and in the matcher.
pub(in crate::rules) const DEPTH_MAX: usize = 100;

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum ConditionFault {
    #[error("the condition is empty")]
    Empty,
    #[error("expected {wanted} {}", before(.rest))]
    Expected { wanted: &'static str, rest: String },
    #[error("the condition is nested deeper than {DEPTH_MAX}")]
    Deep,
    #[error("unsupported escape sequence \"\\{0}\" in a quoted string")]
    Escape(String),
    #[error("hexadecimal escapes in a quoted string do not make UTF-8")]
    NotUtf8,
}

/// The place of an error, by what follows it.
fn before(rest: &str) -> String {
    const SHOWN: usize = 30;
    let shown: String = rest.chars().take(SHOWN).collect();
    if rest.is_empty() {
        "at the end of the condition".into()
    } else {
        format!("before \"{shown}\"")
    }
}

/// Reads a whole condition.
pub(super) fn parse(text: &str) -> Result<Condition, ConditionFault> {
    if text.is_empty() {
        return Err(ConditionFault::Empty);
    }
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0 };
    let condition = parser.any()?;
    if parser.lexer.rest().is_empty() {
        Ok(condition)
    } else {
        parser.expected("\"or\" or \"and\"")
    }
}

/// The field or transformer that a text begins with, and how many bytes it takes:
/// what an output template needs.
pub(super) fn leading_term(text: &str) -> Result<Option<(Term, usize)>, ConditionFault> {
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0 };
    let term = match parser.field()? {
        Some(field) => Some(field),
        None => parser.transformer()?,
    };
    Ok(term.map(|it| (it, text.len() - parser.lexer.rest().len())))
}

/// Operators that numbers are compared with.
const NUMERIC: [(&str, Operator); 4] = [
    ("<=", Operator::LessOrEqual),
    ("<", Operator::Less),
    (">=", Operator::GreaterOrEqual),
    (">", Operator::Greater),
];

/// Operators that are signs, and compare texts.
const SIGNS: [(&str, Operator); 3] =
    [("==", Operator::Equal), ("=", Operator::Equal), ("!=", Operator::NotEqual)];

/// Operators that are words, and compare texts.
const WORDS: [(&str, Operator); 9] = [
    ("glob", Operator::Glob),
    ("iglob", Operator::IGlob),
    ("contains", Operator::Contains),
    ("icontains", Operator::IContains),
    ("bcontains", Operator::BContains),
    ("startswith", Operator::StartsWith),
    ("bstartswith", Operator::BStartsWith),
    ("endswith", Operator::EndsWith),
    ("regex", Operator::Regex),
];

/// Operators that take a list.
const LISTS: [(&str, Operator); 3] =
    [("intersects", Operator::Intersects), ("in", Operator::In), ("pmatch", Operator::PMatch)];

const QUANTITIES: [(&str, Quantity); 3] =
    [("oneof", Quantity::One), ("anyof", Quantity::Any), ("allof", Quantity::All)];

/// Transformers; `val` is one too, and stands on the right alone.
pub(super) const TRANSFORMERS: [&str; 8] =
    ["tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt"];

/// The word of an operator.
pub(super) fn operator_word(operator: Operator) -> &'static str {
    let exists = [("exists", Operator::Exists)];
    let all = NUMERIC.iter().chain(&SIGNS[1..]).chain(&WORDS).chain(&LISTS).chain(&exists);
    all.into_iter().find(|(_, it)| *it == operator).map_or("", |(word, _)| *word)
}

/// The word of a quantity.
pub(super) fn quantity_word(quantity: Quantity) -> &'static str {
    QUANTITIES.iter().find(|(_, it)| *it == quantity).map_or("", |(word, _)| *word)
}

/// What an operator's right side looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Nothing,
    One,
    Many,
}

/// The right side that an operator of an exception takes, with or without a quantity
/// (`startswith oneof`); `None` when it is no operator.
pub(super) fn shape(word: &str) -> Option<Shape> {
    let within = |table: &[(&str, Operator)], word| table.iter().any(|(known, _)| *known == word);
    if let Some((word, quantity)) = word.split_once(' ') {
        let text = within(&SIGNS, word) || within(&WORDS, word);
        let known = text && QUANTITIES.iter().any(|(known, _)| *known == quantity);
        return known.then_some(Shape::Many);
    }
    match word {
        "exists" => Some(Shape::Nothing),
        _ if within(&LISTS, word) => Some(Shape::Many),
        _ if within(&NUMERIC, word) || within(&SIGNS, word) || within(&WORDS, word) => {
            Some(Shape::One)
        }
        _ => None,
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    depth: usize,
}

type Parsed<T> = Result<T, ConditionFault>;

impl Parser<'_> {
    fn expected<T>(&self, wanted: &'static str) -> Parsed<T> {
        Err(ConditionFault::Expected { wanted, rest: self.lexer.rest().to_owned() })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(ConditionFault::Deep);
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn any(&mut self) -> Parsed<Condition> {
        let parts = self.joined("or", Parser::all)?;
        Ok(single(parts).unwrap_or_else(Condition::Any))
    }

    fn all(&mut self) -> Parsed<Condition> {
        let parts = self.joined("and", Parser::not)?;
        Ok(single(parts).unwrap_or_else(Condition::All))
    }

    fn joined(
        &mut self,
        word: &'static str,
        part: impl Fn(&mut Self) -> Parsed<Condition>,
    ) -> Parsed<Vec<Condition>> {
        self.lexer.blank();
        let mut parts = vec![part(self)?];
        self.lexer.blank();
        while self.lexer.text(word) {
            parts.push(if self.lexer.blank() {
                part(self)?
            } else if self.lexer.text("(") {
                self.bracketed()?
            } else {
                return self.expected("a blank or \"(\" after \"and\" and \"or\"");
            });
            self.lexer.blank();
        }
        Ok(parts)
    }

    fn not(&mut self) -> Parsed<Condition> {
        self.lexer.blank();
        let mut negated = false;
        while self.lexer.word("not") {
            negated = !negated;
        }
        let condition = if self.lexer.opening("not") {
            negated = !negated;
            self.bracketed()?
        } else {
            self.check()?
        };
        Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
    }

    /// What stands in brackets, the first of which was taken.
    fn bracketed(&mut self) -> Parsed<Condition> {
        let condition = self.deeper(Parser::any)?;
        self.lexer.blank();
        if self.lexer.text(")") { Ok(condition) } else { self.expected("\")\"") }
    }

    fn check(&mut self) -> Parsed<Condition> {
        self.lexer.blank();
        if self.lexer.text("(") {
            return self.bracketed();
        }
        if let Some(left) = self.field()? {
            return self.comparison(left);
        }
        if let Some(left) = self.transformer()? {
            return self.comparison(left);
        }
        match self.lexer.identifier() {
            Some(name) => Ok(Condition::Macro(name.to_owned())),
            None => self.expected("a field, a macro or \"(\""),
        }
    }

    fn field(&mut self) -> Parsed<Option<Term>> {
        let Some(name) = self.lexer.field() else {
            return Ok(None);
        };
        let name = name.to_owned();
        Ok(Some(Term::Field { name, argument: self.argument()? }))
    }

    fn argument(&mut self) -> Parsed<Option<String>> {
        if !self.lexer.text("[") {
            return Ok(None);
        }
        let quoted = self.lexer.quoted()?;
        let Some(argument) = quoted.or_else(|| self.lexer.bare_argument().map(str::to_owned))
        else {
            return self.expected("a field's argument");
        };
        if self.lexer.text("]") { Ok(Some(argument)) } else { self.expected("\"]\"") }
    }

    fn transformer(&mut self) -> Parsed<Option<Term>> {
        match TRANSFORMERS.iter().find(|name| self.lexer.opening(name)) {
            Some(name) => self.deeper(|it| it.call(name)).map(Some),
            None => Ok(None),
        }
    }

    fn call(&mut self, name: &str) -> Parsed<Term> {
        let mut arguments = Vec::new();
        loop {
            self.lexer.blank();
            arguments.push(self.call_argument()?);
            self.lexer.blank();
            if !self.lexer.text(",") {
                break;
            }
        }
        self.closed(name, arguments)
    }

    fn closed(&mut self, name: &str, arguments: Vec<Term>) -> Parsed<Term> {
        self.lexer.blank();
        if !self.lexer.text(")") {
            return self.expected("\")\" after a transformer's arguments");
        }
        Ok(Term::Call { name: name.to_owned(), arguments, argument: self.argument()? })
    }

    fn call_argument(&mut self) -> Parsed<Term> {
        if self.lexer.text("(") {
            return self.term_list();
        }
        match self.term()? {
            Some(term) => Ok(term),
            None => self.expected("a transformer's argument"),
        }
    }

    /// A field, transformer, quoted text or number.
    fn term(&mut self) -> Parsed<Option<Term>> {
        if let Some(number) = self.lexer.number() {
            return Ok(Some(Term::Literal(number.to_owned())));
        }
        if let Some(text) = self.lexer.quoted()? {
            return Ok(Some(Term::Literal(text)));
        }
        if let Some(call) = self.transformer()? {
            return Ok(Some(call));
        }
        self.field()
    }

    fn term_list(&mut self) -> Parsed<Term> {
        let mut terms = Vec::new();
        self.lexer.blank();
        if self.lexer.text(")") {
            return Ok(Term::List(terms));
        }
        loop {
            self.lexer.blank();
            match self.term()? {
                Some(term) => terms.push(term),
                None => return self.expected("a member of a transformer's list"),
            }
            self.lexer.blank();
            if !self.lexer.text(",") {
                break;
            }
        }
        if self.lexer.text(")") { Ok(Term::List(terms)) } else { self.expected("\")\"") }
    }

    fn comparison(&mut self, left: Term) -> Parsed<Condition> {
        self.lexer.blank();
        if self.lexer.text("exists") {
            let (operator, right) = (Operator::Exists, Right::None);
            return Ok(Condition::Check(Check { left, operator, right }));
        }
        let (operator, right) = if let Some(operator) = self.sign(&NUMERIC) {
            (operator, self.number()?)
        } else if let Some(operator) = self.sign(&SIGNS) {
            let blank = self.lexer.blank();
            (operator, self.text(blank)?)
        } else if let Some((_, operator)) = WORDS.iter().find(|(word, _)| self.lexer.word(word)) {
            (*operator, self.text(true)?)
        } else if let Some(operator) = self.sign(&LISTS) {
            (operator, self.list()?)
        } else {
            return self.expected("an operator");
        };
        Ok(Condition::Check(Check { left, operator, right }))
    }

    fn sign(&mut self, table: &[(&str, Operator)]) -> Option<Operator> {
        table.iter().find(|(sign, _)| self.lexer.text(sign)).map(|(_, operator)| *operator)
    }

    fn number(&mut self) -> Parsed<Right> {
        if let Some(term) = self.right_term()? {
            return Ok(Right::Term(term));
        }
        match self.lexer.number() {
            Some(number) => Ok(Right::Value(number.to_owned())),
            None => self.expected("a number"),
        }
    }

    /// `blank`: white space stood before, without which `oneof` is a value.
    fn text(&mut self, blank: bool) -> Parsed<Right> {
        if blank {
            let before = self.lexer.clone();
            let quantity = QUANTITIES.iter().find(|(word, _)| self.lexer.word(word));
            if let Some((_, quantity)) = quantity.filter(|_| list_follows(&self.lexer)) {
                return Ok(Right::Each(*quantity, self.values()?));
            }
            self.lexer = before;
        }
        if let Some(term) = self.right_term()? {
            return Ok(Right::Term(term));
        }
        match self.value()? {
            Some(value) => Ok(Right::Value(value)),
            None => self.expected("a value"),
        }
    }

    fn value(&mut self) -> Parsed<Option<String>> {
        self.lexer.blank();
        let quoted = self.lexer.quoted()?;
        Ok(quoted.or_else(|| self.lexer.bare().map(str::to_owned)))
    }

    fn list(&mut self) -> Parsed<Right> {
        self.lexer.blank();
        if !self.lexer.rest().starts_with('(')
            && let Some(term) = self.right_term()?
        {
            return Ok(Right::Term(term));
        }
        self.values().map(Right::List)
    }

    /// Values in brackets, or a single name without.
    fn values(&mut self) -> Parsed<Vec<String>> {
        if !self.lexer.text("(") {
            return match self.lexer.identifier() {
                Some(name) => Ok(vec![name.to_owned()]),
                None => self.expected("a list"),
            };
        }
        let mut values = Vec::new();
        if let Some(first) = self.value()? {
            values.push(first);
            self.lexer.blank();
            while self.lexer.text(",") {
                match self.value()? {
                    Some(value) => values.push(value),
                    None => return self.expected("a value"),
                }
                self.lexer.blank();
            }
        }
        if self.lexer.text(")") { Ok(values) } else { self.expected("\")\" after a list") }
    }

    /// `val(field)` or a transformer, on the right of an operator.
    fn right_term(&mut self) -> Parsed<Option<Term>> {
        self.lexer.blank();
        if !self.lexer.opening("val") {
            return self.transformer();
        }
        self.lexer.blank();
        match self.field()? {
            Some(field) => self.closed("val", vec![field]).map(Some),
            None => self.expected("a field in \"val\""),
        }
    }
}

/// The only one of several, or all of them.
fn single(mut parts: Vec<Condition>) -> Result<Condition, Vec<Condition>> {
    if parts.len() > 1 {
        return Err(parts);
    }
    parts.pop().ok_or(parts)
}

/// Whether a list or its name follows; `x = oneof and y` compares with the word "oneof".
fn list_follows(lexer: &Lexer<'_>) -> bool {
    let rest = lexer.rest();
    let keyword = ["and", "or", "not"].iter().any(|word| {
        let after = rest.strip_prefix(word);
        after.is_some_and(|it| !it.starts_with(|c: char| c.is_ascii_alphanumeric()))
    });
    !keyword && (rest.starts_with('(') || lexer.clone().identifier().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::falco::print::canonical;

    fn read(text: &str) -> String {
        parse(text).map_or_else(|fault| fault.to_string(), |it| canonical(&it))
    }

    #[test]
    fn conditions_are_read_and_written_as_falco_does() {
        for (text, want) in [
            ("a or b and not c", "(a or (b and not c))"),
            ("not not(a.b  =x)", "a.b = x"),
            ("not (not a)", "not (not a)"),
            ("a.b == 'c d'", "a.b = \"c d\""),
            ("jevt.value[/a/b] in (1, 'x', y)", "jevt.value[/a/b] in (1, x, y)"),
            ("ka.x[\"\"] exists", "ka.x[\"\"] exists"),
            ("a.b in names", "a.b in (names)"),
            ("a.b startswith oneof (x, y)", "a.b startswith oneof (x, y)"),
            ("a.b = oneof and c", "(a.b = oneof and c)"),
            ("a.b = val( c.d[0] )", "a.b = val(c.d[0])"),
            ("join('-', (a.b, 'x y', 3)) = z", "join(\"-\",(a.b,\"x y\",3)) = z"),
            ("getopt(a.b, 'n')['x'] >= 0x10", "getopt(a.b,\"n\")[x] >= 0x10"),
            ("a.b = 'len(c.d)' or a.b=x\\", "(a.b = \"len(c.d)\" or a.b = \"x\\x5c\")"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (text, want) in [
            ("", "the condition is empty"),
            ("a.b = 1 c", "expected \"or\" or \"and\" before \"c\""),
            ("a.b", "expected an operator at the end of the condition"),
            ("a.b in (x,)", "expected a value before \")\""),
            ("a.b > x", "expected a number before \"x\""),
            ("a.b[] = x", "expected a field's argument before \"] = x\""),
            ("a andb", "expected a blank or \"(\" after \"and\" and \"or\" before \"b\""),
            ("a.b = \"\\q\"", "unsupported escape sequence \"\\q\" in a quoted string"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn a_term_is_read_off_the_front_of_a_text() {
        let read = |text| leading_term(text).unwrap().map(|(_, length)| length);
        assert_eq!(read("ka.uri.param[x] y"), Some(15));
        assert_eq!(read("tolower(ka.verb)]"), Some(16));
        assert_eq!((read("ka rest"), read("")), (None, None));
        assert!(leading_term("ka.x[").is_err());
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(read(&nested(DEPTH_MAX)), "a");
        assert_eq!(parse(&nested(DEPTH_MAX + 1)), Err(ConditionFault::Deep));
        let calls = format!("{}a.b{} = 1", "b64(".repeat(5_000), ")".repeat(5_000));
        assert_eq!(parse(&calls), Err(ConditionFault::Deep));
    }
}
