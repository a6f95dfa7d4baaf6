//! The conditions of a query -> which files can hold an answer.
//!
//! One rule: a file is left out only when no row of it can pass. What is not understood
//! here narrows nothing; the scan tests every condition again, on every row.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::archive::catalog::Scope;
use crate::archive::index::{HASHES_MAX, Wanted};
use crate::archive::stored::StoredFile;

/// What the conditions say of the columns that the catalog knows of each file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What the catalog itself can select by.
    pub(super) scope: Scope,
    seq_first: Option<i64>,
    seq_last: Option<i64>,
    /// Two conditions exclude each other.
    empty: bool,
}

impl Bounds {
    /// The bounds of conditions that must all hold.
    pub(super) fn of(conditions: &[Expr]) -> Bounds {
        let mut bounds = Bounds::default();
        for condition in conditions {
            bounds.narrow(condition);
        }
        bounds.scope.wanted = all(conditions.iter().map(wanted));
        bounds
    }

    /// Whether a file can hold a row that passes.
    pub(super) fn admit(&self, file: &StoredFile) -> bool {
        !self.empty
            && self.seq_first.is_none_or(|it| file.seq_last >= it)
            && self.seq_last.is_none_or(|it| file.seq_first <= it)
    }

    fn narrow(&mut self, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left);
                self.narrow(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => {
                        self.compare(&column.name, *op, value);
                    }
                    (Expr::Literal(value, _), Expr::Column(column)) => {
                        if let Some(op) = op.swap() {
                            self.compare(&column.name, op, value);
                        }
                    }
                    _ => {}
                }
            }
            Expr::Between(between) if !between.negated => {
                if let Expr::Column(column) = between.expr.as_ref() {
                    if let Expr::Literal(low, _) = between.low.as_ref() {
                        self.compare(&column.name, Operator::GtEq, low);
                    }
                    if let Expr::Literal(high, _) = between.high.as_ref() {
                        self.compare(&column.name, Operator::LtEq, high);
                    }
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue) {
        match (column, value) {
            ("time", ScalarValue::TimestampMicrosecond(Some(micros), _)) => {
                let (first, last) = ends(op, *micros);
                // The catalog's `until` is the first moment that is out.
                let until = last.and_then(|it| it.checked_add(1));
                raise(&mut self.scope.since, first);
                lower(&mut self.scope.until, until);
            }
            ("seq", ScalarValue::Int64(Some(seq))) => {
                let (first, last) = ends(op, *seq);
                raise(&mut self.seq_first, first);
                lower(&mut self.seq_last, last);
            }
            ("cluster", _) if op == Operator::Eq => {
                if let Some(Some(name)) = value.try_as_str() {
                    let other = self.scope.cluster.as_deref().is_some_and(|it| it != name);
                    self.empty |= other;
                    self.scope.cluster = Some(name.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// What a row must have in the columns that are in the index, if the condition is to hold. `None`: nothing is known.
fn wanted(condition: &Expr) -> Option<Wanted> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            all([left, right].map(|it| wanted(it)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Wanted::either(wanted(left), wanted(right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (column(left), column(right)) {
                (Some(name), None) => equal(name, [right.as_ref()]),
                (None, Some(name)) => equal(name, [left.as_ref()]),
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated => equal(column(&list.expr)?, &list.list),
        Expr::IsNull(inner) => Wanted::of(column(inner)?, [None]),
        Expr::IsTrue(inner) => wanted(inner),
        Expr::ScalarFunction(call) if call.name() == "array_has" => match call.args.as_slice() {
            [Expr::Column(list), value] if list.name == LIST => {
                Wanted::of(LIST, [Some(text(value)?)])
            }
            _ => None,
        },
        _ => None,
    }
}

/// The indexed column that is a list: of it a member is asked for, and not the whole.
const LIST: &str = "source_ips";

/// The name of a column of texts.
fn column(of: &Expr) -> Option<&str> {
    match of {
        Expr::Column(column) => Some(column.name.as_str()),
        // To text of another layout, which changes no value.
        Expr::Cast(cast) if cast.field.data_type().is_string() => column(&cast.expr),
        _ => None,
    }
}

fn equal<'e>(name: &str, values: impl IntoIterator<Item = &'e Expr>) -> Option<Wanted> {
    let values: Option<Vec<_>> = values.into_iter().map(|it| text(it).map(Some)).collect();
    values.filter(|it| name != LIST && !it.is_empty()).and_then(|it| Wanted::of(name, it))
}

fn text(literal: &Expr) -> Option<&str> {
    match literal {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// All of these, as far as they are known. One that asks for too many values is left out.
fn all(parts: impl IntoIterator<Item = Option<Wanted>>) -> Option<Wanted> {
    let mut left = HASHES_MAX;
    let parts = parts.into_iter().flatten().filter(|it| {
        let fits = it.hashes() <= left;
        left -= if fits { it.hashes() } else { 0 };
        fits
    });
    parts.fold(None, |all, part| Wanted::both(all, Some(part)))
}

/// The least and the greatest value that passes, both included.
fn ends(op: Operator, value: i64) -> (Option<i64>, Option<i64>) {
    match op {
        Operator::Eq => (Some(value), Some(value)),
        Operator::Gt => (value.checked_add(1), None),
        Operator::GtEq => (Some(value), None),
        Operator::Lt => (None, value.checked_sub(1)),
        Operator::LtEq => (None, Some(value)),
        _ => (None, None),
    }
}

fn raise(bound: &mut Option<i64>, to: Option<i64>) {
    *bound = (*bound).max(to);
}

fn lower(bound: &mut Option<i64>, to: Option<i64>) {
    *bound = match (*bound, to) {
        (Some(had), Some(to)) => Some(had.min(to)),
        (had, to) => had.or(to),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn time(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    fn scope(since: Option<i64>, until: Option<i64>, cluster: Option<&str>) -> Scope {
        Scope { since, until, cluster: cluster.map(str::to_owned), wanted: None }
    }

    #[test]
    fn conditions_on_time_and_cluster_become_a_scope() {
        for (conditions, want) in [
            (vec![], scope(None, None, None)),
            (vec![col("time").gt_eq(time(5))], scope(Some(5), None, None)),
            (
                vec![col("time").gt(time(5)).and(col("time").lt(time(9)))],
                scope(Some(6), Some(9), None),
            ),
            (vec![time(9).gt_eq(col("time"))], scope(None, Some(10), None)),
            (vec![col("time").between(time(2), time(4))], scope(Some(2), Some(5), None)),
            (vec![col("time").eq(time(7))], scope(Some(7), Some(8), None)),
            (vec![col("time").gt(time(1)), col("time").gt(time(5))], scope(Some(6), None, None)),
            (vec![col("cluster").eq(lit("prod"))], scope(None, None, Some("prod"))),
            (vec![col("cluster").not_eq(lit("prod"))], scope(None, None, None)),
            (vec![col("time").gt(time(1)).or(col("seq").gt(lit(5_i64)))], scope(None, None, None)),
            (vec![col("time").not_between(time(2), time(4))], scope(None, None, None)),
        ] {
            assert_eq!(Bounds::of(&conditions).scope, want, "{conditions:?}");
        }
    }

    #[test]
    fn a_file_is_left_out_only_when_its_places_exclude_it() {
        let file = StoredFile { seq_first: 10, seq_last: 19, ..empty_file() };
        for (condition, admitted) in [
            (col("seq").eq(lit(10_i64)), true),
            (col("seq").eq(lit(20_i64)), false),
            (col("seq").gt(lit(18_i64)), true),
            (col("seq").gt(lit(19_i64)), false),
            (col("seq").lt(lit(10_i64)), false),
            (col("seq").not_eq(lit(10_i64)), true),
            (col("cluster").eq(lit("a")).and(col("cluster").eq(lit("b"))), false),
        ] {
            assert_eq!(
                Bounds::of(std::slice::from_ref(&condition)).admit(&file),
                admitted,
                "{condition}"
            );
        }
    }

    fn empty_file() -> StoredFile {
        StoredFile {
            id: String::new(),
            path: std::path::PathBuf::new(),
            cluster: String::new(),
            date: String::new(),
            rows: 0,
            bytes_in: 0,
            bytes_stored: 0,
            seq_first: 0,
            seq_last: 0,
            time_first: None,
            time_last: None,
            created: 0,
            sha256: String::new(),
        }
    }
}
