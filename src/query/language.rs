//! The text of a search -> a [`Query`]: `verb:get resource:secrets -user:system:*`.
//!
//! One rule: a search means what it says or is refused. Nothing is guessed, and every error
//! names the place and what to write instead. `docs/search.md` is the language for its users.

use std::fmt;

use jiff::Timestamp;
use regex::RegexBuilder;

use super::field::{self, Column, Kind};
use super::pattern::quoted;
pub use super::pattern::{Pattern, Piece};
pub use super::problem::{DEPTH_MAX, Problem, QueryError, TERMS_MAX, TEXT_BYTES_MAX};
use super::scan::Scanner;
use super::time::{self, Span};

/// How much memory a compiled regular expression may take.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// A search, understood. Its `Display` is the same search with everything spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Every event.
    All,
    /// Events for which each of these holds.
    And(Vec<Query>),
    /// Events for which one of these holds.
    Or(Vec<Query>),
    /// Events for which this does not hold, also where the column is absent.
    Not(Box<Query>),
    /// Events whose column passes a test.
    Term(&'static Column, Test),
}

/// What a column must pass. Texts compare exactly, except in [`Test::Holds`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There is a value.
    Present,
    /// The value is this text.
    Is(String),
    /// The whole value fits the pattern.
    Like(Pattern),
    /// The pattern occurs in the value, whatever the case of its letters.
    Holds(Pattern),
    /// The regular expression matches somewhere in the value.
    Matches(String),
    /// The number or moment (µs) lies between these, both included.
    Between {
        /// The least; `None`: no bound.
        first: Option<i64>,
        /// The greatest; `None`: no bound.
        last: Option<i64>,
    },
}

impl Query {
    /// Reads a search. Times in it are relative to `now`, µs.
    ///
    /// # Errors
    /// When the text is not understood; the error names the place and a remedy.
    pub fn parse(text: &str, now: i64) -> Result<Query, QueryError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(QueryError { column: 1, problem: Problem::TooLong });
        }
        let mut parser = Parser { scan: Scanner::new(text), now, depth: 0, terms: 0 };
        parser.scan.skip_blanks();
        if parser.scan.peek().is_none() {
            return Ok(Query::All);
        }
        let query = parser.either()?;
        match parser.scan.peek() {
            None => Ok(query),
            Some(_) => Err(parser.scan.error(Problem::Unopened)),
        }
    }
}

struct Parser<'a> {
    scan: Scanner<'a>,
    now: i64,
    depth: usize,
    terms: usize,
}

impl Parser<'_> {
    /// `a OR b`.
    fn either(&mut self) -> Result<Query, QueryError> {
        let mut members = vec![self.both()?];
        while self.scan.take_word("or") {
            self.scan.skip_blanks();
            members.push(self.both()?);
        }
        Ok(joined(members, Query::Or))
    }

    /// `a b`, `a AND b`: binds closer than `OR`.
    fn both(&mut self) -> Result<Query, QueryError> {
        let mut members = vec![self.one()?];
        loop {
            self.scan.skip_blanks();
            if self.scan.take_word("and") {
                self.scan.skip_blanks();
            } else if matches!(self.scan.peek(), None | Some(')')) || self.at_or() {
                return Ok(joined(members, Query::And));
            }
            members.push(self.one()?);
        }
    }

    fn at_or(&self) -> bool {
        self.scan.clone().take_word("or")
    }

    /// A term, a negated one, or one in parentheses.
    fn one(&mut self) -> Result<Query, QueryError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.scan.error(Problem::TooDeep));
        }
        self.depth += 1;
        let start = self.scan.at();
        let query = if self.scan.take("-") || self.scan.take_word("not") {
            self.scan.skip_blanks();
            Query::Not(Box::new(self.one()?))
        } else if self.scan.take("(") {
            self.scan.skip_blanks();
            let inner = self.either()?;
            if !self.scan.take(")") {
                return Err(self.scan.error_at(start, Problem::Unclosed));
            }
            inner
        } else {
            self.term()?
        };
        self.depth -= 1;
        Ok(query)
    }

    fn term(&mut self) -> Result<Query, QueryError> {
        let start = self.scan.at();
        if matches!(self.scan.peek(), None | Some(')')) || self.at_or() || self.at_and() {
            return Err(self.scan.error(Problem::NoTerm));
        }
        let Some(name) = self.scan.take_field() else { return self.free() };
        let Some(column) = field::find(name) else {
            let problem =
                Problem::UnknownField { name: name.to_owned(), nearest: field::nearest(name) };
            return Err(self.scan.error_at(start, problem));
        };
        if self.scan.take("(") { self.list(column) } else { self.value(column, false) }
    }

    fn at_and(&self) -> bool {
        self.scan.clone().take_word("and")
    }

    fn count(&mut self) -> Result<(), QueryError> {
        self.terms += 1;
        if self.terms > TERMS_MAX { Err(self.scan.error(Problem::TooMany)) } else { Ok(()) }
    }

    /// Words without a field: they are looked for in the whole line.
    fn free(&mut self) -> Result<Query, QueryError> {
        let Some(column) = field::find(field::RAW) else { return Ok(Query::All) };
        self.count()?;
        if let Some(test) = self.regex()? {
            return Ok(Query::Term(column, test));
        }
        Ok(Query::Term(column, Test::Holds(self.scan.take_pattern(false)?)))
    }

    fn list(&mut self, column: &'static Column) -> Result<Query, QueryError> {
        let mut members = Vec::new();
        loop {
            self.scan.skip_blanks();
            members.push(self.value(column, true)?);
            self.scan.skip_blanks();
            if self.scan.take(")") {
                return Ok(joined(members, Query::Or));
            }
            if !self.scan.take(",") {
                return Err(self.scan.error(Problem::List));
            }
        }
    }

    fn value(&mut self, column: &'static Column, in_list: bool) -> Result<Query, QueryError> {
        self.count()?;
        let start = self.scan.at();
        let ordered = matches!(column.kind, Kind::Int | Kind::Time);
        if !in_list && let Some(test) = self.regex()? {
            let problem = Problem::NoText { column: &column.name };
            return match ordered {
                true => Err(self.scan.error_at(start, problem)),
                false => Ok(Query::Term(column, test)),
            };
        }
        let sign = [">=", "<=", ">", "<"].into_iter().find(|it| self.scan.take(it));
        if sign.is_some() && !ordered {
            let problem = Problem::NoOrder { column: &column.name };
            return Err(self.scan.error_at(start, problem));
        }
        let pattern = self.scan.take_pattern(in_list)?;
        if pattern.is_any() && sign.is_none() {
            return Ok(Query::Term(column, Test::Present));
        }
        let test = if ordered {
            let text = pattern.literal().map(str::to_owned);
            let text = text.unwrap_or_else(|| pattern.to_string());
            self.bounds(column, sign.unwrap_or(""), &text)
                .map_err(|problem| self.scan.error_at(start, problem))?
        } else {
            exact(pattern)
        };
        Ok(Query::Term(column, test))
    }

    fn regex(&mut self) -> Result<Option<Test>, QueryError> {
        let start = self.scan.at();
        let Some(pattern) = self.scan.take_regex() else { return Ok(None) };
        match RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build() {
            Ok(_) => Ok(Some(Test::Matches(pattern.to_owned()))),
            Err(error) => {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                Err(self.scan.error_at(start, Problem::Regex { why: why.to_owned() }))
            }
        }
    }

    /// What `400`, `>=400`, `400..499` and their like mean.
    fn bounds(&self, column: &'static Column, sign: &str, text: &str) -> Result<Test, Problem> {
        let end = |text: &str| self.end(column, text);
        let (first, last) = match (sign, text.split_once("..")) {
            ("", Some(("", last))) => (None, Some(end(last)?.last)),
            ("", Some((first, ""))) => (Some(end(first)?.first), None),
            ("", Some((first, last))) => (Some(end(first)?.first), Some(end(last)?.last)),
            (">=", _) => (Some(end(text)?.first), None),
            (">", _) => (Some(end(text)?.last.saturating_add(1)), None),
            ("<=", _) => (None, Some(end(text)?.last)),
            ("<", _) => (None, Some(end(text)?.first.saturating_sub(1))),
            _ => end(text).map(|it| (Some(it.first), Some(it.last)))?,
        };
        Ok(Test::Between { first, last })
    }

    fn end(&self, column: &'static Column, text: &str) -> Result<Span, Problem> {
        if column.kind == Kind::Time {
            return time::span(text, self.now).map_err(Problem::Time);
        }
        let refused = Problem::NoNumber { column: &column.name };
        if let Some(hundreds) = text.strip_suffix("xx") {
            let first = hundreds.parse::<i64>().ok().and_then(|it| it.checked_mul(100));
            return first.map(|it| Span { first: it, last: it + 99 }).ok_or(refused);
        }
        text.parse::<i64>().map(|it| Span { first: it, last: it }).map_err(|_| refused)
    }
}

fn joined(mut members: Vec<Query>, join: fn(Vec<Query>) -> Query) -> Query {
    match members.pop() {
        Some(only) if members.is_empty() => only,
        Some(last) => {
            members.push(last);
            join(members)
        }
        None => Query::All,
    }
}

fn exact(pattern: Pattern) -> Test {
    match pattern.literal() {
        Some(text) => Test::Is(text.to_owned()),
        None => Test::Like(pattern),
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = |f: &mut fmt::Formatter<'_>, members: &[Query], between: &str| {
            f.write_str("(")?;
            for (index, member) in members.iter().enumerate() {
                let before = if index == 0 { "" } else { between };
                write!(f, "{before}{member}")?;
            }
            f.write_str(")")
        };
        match self {
            Query::All => Ok(()),
            Query::And(all) => members(f, all, " "),
            Query::Or(any) => members(f, any, " OR "),
            Query::Not(inner) => write!(f, "-{inner}"),
            Query::Term(column, test) => written(f, column, test),
        }
    }
}

fn written(f: &mut fmt::Formatter<'_>, column: &Column, test: &Test) -> fmt::Result {
    let name = &column.name;
    match test {
        Test::Present => write!(f, "{name}:*"),
        Test::Is(text) => write!(f, "{name}:{}", quoted(text)),
        Test::Like(pattern) => write!(f, "{name}:{pattern}"),
        Test::Holds(pattern) => write!(f, "{pattern}"),
        Test::Matches(regex) if name == field::RAW => write!(f, "/{regex}/"),
        Test::Matches(regex) => write!(f, "{name}:/{regex}/"),
        Test::Between { first, last } => {
            let end = |end: &Option<i64>| match end {
                Some(micros) if column.kind == Kind::Time => moment(*micros),
                Some(number) => number.to_string(),
                None => String::new(),
            };
            write!(f, "{name}:{}..{}", end(first), end(last))
        }
    }
}

fn moment(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T14:00:00Z.
    const NOW: i64 = 1_795_442_400_000_000;

    fn read(text: &str) -> String {
        match Query::parse(text, NOW) {
            Ok(query) => {
                let written = query.to_string();
                assert_eq!(Query::parse(&written, NOW), Ok(query), "{text} -> {written}");
                written
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_search_reads_as_it_is_written() {
        for (text, want) in [
            ("", ""),
            ("  ", ""),
            (
                "verb:get resource:secrets -user:system:*",
                r#"(verb:"get" resource:"secrets" -user:"system:"*)"#,
            ),
            (r#"user:"a b""#, r#"user:"a b""#),
            (r#"user:"a*b""#, r#"user:"a*b""#),
            (r"user:a\*b", r#"user:"a*b""#),
            (r#"user:"say \"hi\"""#, r#"user:"say \"hi\"""#),
            ("user:a?c*", r#"user:"a"?"c"*"#),
            ("not verb:get", r#"-verb:"get""#),
            (
                "verb:get or verb:list and code:200",
                r#"(verb:"get" OR (verb:"list" code:200..200))"#,
            ),
            ("(verb:get OR verb:list) user:bob", r#"((verb:"get" OR verb:"list") user:"bob")"#),
            ("-(a OR b)", r#"-("a" OR "b")"#),
            ("verb:(get, list,watch)", r#"(verb:"get" OR verb:"list" OR verb:"watch")"#),
            ("user:*", "user:*"),
            ("-user:*", "-user:*"),
            ("objectRef.resource:pods auditID:x", r#"(resource:"pods" audit_id:"x")"#),
            ("groups:system:masters", r#"groups:"system:masters""#),
            ("ip:10.0.0.?", r#"source_ips:"10.0.0."?"#),
            ("exec into", r#"("exec" "into")"#),
            (r#""exec into""#, r#""exec into""#),
            ("origin nothing", r#"("origin" "nothing")"#),
            ("raw:*x*", r#"raw:*"x"*"#),
            ("request_uri:/api/v1/pods*", r#"request_uri:"/api/v1/pods"*"#),
            ("name:a..b name:..", r#"(name:"a..b" name:"..")"#),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn regular_expressions_end_with_their_word() {
        assert_eq!(read("/ex(ec|it)/"), "/ex(ec|it)/");
        assert_eq!(read("(user:/^a/ OR user:/(b)/)"), "(user:/^a/ OR user:/(b)/)");
        assert_eq!(read("/api/v1"), r#""/api/v1""#);
        assert!(read("verb:get user:/(/").starts_with("column 15: the regular expression"));
        assert!(read("code:/4/").contains("holds no text"));
        let heavy = format!("/{}/", "(a{99}){99}{99}");
        assert!(read(&heavy).contains("size limit"), "{}", read(&heavy));
    }

    #[test]
    fn ranges_hold_both_their_ends() {
        for (text, want) in [
            ("code:403", "code:403..403"),
            ("code:>=400", "code:400.."),
            ("code:>400", "code:401.."),
            ("code:<400", "code:..399"),
            ("code:400..499", "code:400..499"),
            ("code:4xx", "code:400..499"),
            ("code:500..", "code:500.."),
            ("code:(401,403)", "(code:401..401 OR code:403..403)"),
            (
                "time:2026-11-23..2026-11-24",
                "time:2026-11-23T00:00:00Z..2026-11-24T23:59:59.999999Z",
            ),
            ("time:>=7d", "time:2026-11-16T14:00:00Z.."),
            ("time:>2026-11-20", "time:2026-11-21T00:00:00Z.."),
            ("time:2026-11-20", "time:2026-11-20T00:00:00Z..2026-11-20T23:59:59.999999Z"),
            ("time:<2026-11-20T10:00:00Z", "time:..2026-11-20T09:59:59.999999Z"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn every_error_names_its_place_and_a_remedy() {
        for (text, want) in [
            (
                "verb:get resorce:x",
                "column 10: unknown field \"resorce\": did you mean `resource:`?",
            ),
            ("zzz:x", "column 1: unknown field \"zzz\": docs/search.md lists the fields"),
            ("verb:", "column 6: a value is missing"),
            ("verb: get", "column 6: a value is missing"),
            ("é \"open", "column 3: this quote is not closed"),
            ("(verb:get", "column 1: this parenthesis is not closed"),
            ("verb:get)", "column 9: this parenthesis closes nothing"),
            ("verb:get OR", "column 12: a term is missing"),
            ("OR verb:get", "column 1: a term is missing"),
            ("verb:(get list)", "column 11: in a list, values are divided by commas"),
            ("name:f(x)", "column 7: a parenthesis in a value"),
            ("name:>5", "column 6: \"name\" holds text, which has no order"),
            ("code:many", "column 6: \"code\" holds numbers: write `code:400`"),
            ("code:4*", "column 6: \"code\" holds numbers"),
            ("time:soon", "column 6: \"soon\" is no time: write an age"),
            ("x\\", "column 3: nothing follows the backslash"),
            ("-", "column 2: a term is missing"),
        ] {
            assert!(read(text).starts_with(want), "{text}: {}", read(text));
        }
    }

    #[test]
    fn limits_hold() {
        let deep = "(".repeat(DEPTH_MAX + 1);
        assert!(read(&deep).contains("levels of parentheses"), "{}", read(&deep));
        assert!(read(&"-".repeat(100_000)).contains("longer than"));
        assert!(read(&"a ".repeat(TERMS_MAX + 1)).contains("more than 256 terms"));
        let list = format!("verb:({})", vec!["a"; TERMS_MAX + 1].join(","));
        assert!(read(&list).contains("more than 256 terms"));
        assert!(read(&"-".repeat(DEPTH_MAX + 1)).contains("levels of parentheses"));
    }

    #[test]
    fn the_examples_of_the_document_are_understood() {
        let document = include_str!("../../docs/search.md");
        let examples = document.split("### Examples\n\n```\n").nth(1).unwrap();
        let examples = examples.split("```").next().unwrap();
        assert!(examples.lines().count() >= 5);
        for line in examples.lines() {
            let search = line.split("   ").next().unwrap();
            assert!(Query::parse(search, NOW).is_ok(), "{search}: {}", read(search));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "[a-c :\"*?()/,\\\\.<>=é-]{0,40}") {
            read(&text);
            read(&format!("verb:{text}"));
            read(&format!("code:{text}"));
        }
    }
}
