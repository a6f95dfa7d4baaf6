//! A [`Query`] -> the condition DataFusion tests.
//!
//! One rule: a search has two answers, SQL has three. What is absent fails a test and so
//! passes its negation: `-user:bob` also finds events without a user.

use datafusion::common::ScalarValue;
use datafusion::functions_nested::expr_fn::array_has;
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};
use datafusion::prelude::lit;

use super::computed;
use super::field::{Column, Kind};
use super::language::{Pattern, Piece, Query, Test};
use super::line;

/// The condition a search stands for, on the stored columns.
pub(super) fn condition(query: &Query) -> Expr {
    match query {
        Query::All => lit(true),
        Query::And(all) => all.iter().map(condition).reduce(Expr::and).unwrap_or_else(|| lit(true)),
        Query::Or(any) => any.iter().map(condition).reduce(Expr::or).unwrap_or_else(|| lit(false)),
        Query::Not(inner) => match inner.as_ref() {
            Query::Not(twice) => condition(twice),
            Query::Term(column, test) => absent_or_failed(column, test),
            other => Expr::IsNotTrue(Box::new(condition(other))),
        },
        Query::Term(column, test) => passed(column, test),
    }
}

/// The column as the stored table has it, or as it is made of others.
fn value(column: &Column) -> Expr {
    computed::column(&column.name).unalias()
}

fn passed(column: &Column, test: &Test) -> Expr {
    let list = column.kind == Kind::List;
    let value = value(column);
    match test {
        Test::Present => value.is_not_null(),
        Test::Is(text) if list => array_has(value, lit(text.as_str())),
        Test::Is(text) => value.eq(lit(text.as_str())),
        Test::Like(pattern) if list => any_match(value, &format!("^(?s:{})$", regex(pattern))),
        Test::Like(pattern) => like(value, &sql_pattern(pattern), false),
        Test::Holds(pattern) => like(value, &format!("%{}%", sql_pattern(pattern)), true),
        Test::Matches(regex) if list => any_match(value, regex),
        Test::Matches(regex) => binary(value, Operator::RegexMatch, lit(regex.as_str())),
        Test::Between { first, last } => {
            let end = |it: i64| match column.kind {
                Kind::Time => lit(ScalarValue::TimestampMicrosecond(Some(it), Some("UTC".into()))),
                _ => lit(it),
            };
            match (first, last) {
                (Some(first), Some(last)) if first == last => value.eq(end(*first)),
                (Some(first), Some(last)) => {
                    value.clone().gt_eq(end(*first)).and(value.lt_eq(end(*last)))
                }
                (Some(first), None) => value.gt_eq(end(*first)),
                (None, Some(last)) => value.lt_eq(end(*last)),
                (None, None) => value.is_not_null(),
            }
        }
    }
}

/// The negation. Where the reader can prune by it, it is written so that it does.
fn absent_or_failed(column: &Column, test: &Test) -> Expr {
    match (passed(column, test), test) {
        (_, Test::Present) => value(column).is_null(),
        (Expr::Like(like), Test::Like(_)) => {
            value(column).is_null().or(Expr::Like(Like { negated: true, ..like }))
        }
        (Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }), _) => {
            value(column).is_null().or(left.not_eq(*right))
        }
        (passed, _) => Expr::IsNotTrue(Box::new(passed)),
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn like(value: Expr, pattern: &str, case_insensitive: bool) -> Expr {
    Expr::Like(Like::new(false, Box::new(value), Box::new(lit(pattern)), None, case_insensitive))
}

fn any_match(list: Expr, regex: &str) -> Expr {
    line::any_match().call(vec![list, lit(regex)])
}

/// The pattern as `LIKE` has it; what `LIKE` would take for a wildcard is escaped.
fn sql_pattern(pattern: &Pattern) -> String {
    let mut out = String::new();
    for piece in &pattern.0 {
        match piece {
            Piece::Any => out.push('%'),
            Piece::One => out.push('_'),
            Piece::Text(text) => {
                for letter in text.chars() {
                    if matches!(letter, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(letter);
                }
            }
        }
    }
    out
}

fn regex(pattern: &Pattern) -> String {
    let piece = |it: &Piece| match it {
        Piece::Any => ".*".to_owned(),
        Piece::One => ".".to_owned(),
        Piece::Text(text) => regex::escape(text),
    };
    pattern.0.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_takes_for_wildcards_is_only_itself() {
        let pattern = |text: &str| match Query::parse(text, 0) {
            Ok(Query::Term(_, Test::Like(pattern))) => sql_pattern(&pattern),
            other => panic!("{other:?}"),
        };
        assert_eq!(pattern("name:a_b%*"), r"a\_b\%%");
        assert_eq!(pattern(r"name:?\\*"), r"_\\%");
    }

    #[test]
    fn a_negation_also_passes_what_is_absent() {
        let written = |text: &str| condition(&Query::parse(text, 0).unwrap()).to_string();
        assert_eq!(written("-user:bob"), r#"user IS NULL OR user != Utf8("bob")"#);
        assert_eq!(written("-user:sys*"), r#"user IS NULL OR user NOT LIKE Utf8("sys%")"#);
        assert_eq!(written("-user:*"), "user IS NULL");
        assert!(written("-code:400..").ends_with("IS NOT TRUE"), "{}", written("-code:400.."));
        assert_eq!(written("--user:bob"), r#"user = Utf8("bob")"#);
    }
}
