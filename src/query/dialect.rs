//! The SQL a person may write here: DuckDB's, as far as our own columns allow it.
//!
//! One rule: every column is a name and never a word of the language. PostgreSQL takes `user`
//! for a function, and DuckDB, which allows a comma too many, takes `, cluster` for the end
//! of a list.

use datafusion::common::{DataFusionError, Result, not_impl_err, plan_datafusion_err};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::Dialect;

/// How deep a statement may nest.
const NESTING_MAX: usize = 64;

/// The one statement in a text.
pub(super) fn statement(text: &str) -> Result<Statement, DataFusionError> {
    let mut statements = DFParserBuilder::new(text)
        .with_dialect(&AuditDialect)
        .with_recursion_limit(NESTING_MAX)
        .build()?
        .parse_statements()?;
    if statements.len() > 1 {
        return not_impl_err!("one statement at a time");
    }
    statements.pop_front().ok_or_else(|| plan_datafusion_err!("there is no statement"))
}

#[derive(Debug)]
struct AuditDialect;

impl Dialect for AuditDialect {
    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_'
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter.is_ascii_digit() || letter == '_'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_eq_operator(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_from_first_select(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_is_taken_and_no_more() {
        assert!(statement("SELECT 1;").is_ok());
        for (text, want) in [
            ("", "there is no statement"),
            ("SELECT 1; SELECT 2", "one statement at a time"),
            (&format!("SELECT {}1", "(".repeat(NESTING_MAX * 4)), "RecursionLimit"),
        ] {
            let error = statement(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
