//! Columns that are worked out from others when a query names them.

use datafusion::functions_nested::expr_fn::array_has;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{cast, ident, lit, when};

use super::field::{RAW, RAW_BYTES};
use super::line;
use crate::event::Field;

/// From received to time. Archives of before 2026-11-25 hold it; it is a sixteenth of what is stored.
const LATENCY: &str = "latency_us";

/// The column of this name, as a query sees it.
pub(super) fn column(name: &str) -> Expr {
    match name {
        RAW => line::text().alias(RAW),
        RAW_BYTES => line::bytes().alias(RAW_BYTES),
        LATENCY => latency().alias(LATENCY),
        other => ident(other),
    }
}

fn latency() -> Expr {
    let micros = |name: &str| cast(ident(name), arrow::datatypes::DataType::Int64);
    let inferred = array_has(ident("inferred"), lit(Field::StageTimestamp.path()));
    // Of a time that is not told nothing can be said.
    let told = when(inferred.is_not_true(), micros("time") - micros("received")).end();
    let kept = ident(LATENCY);
    let both = told.and_then(|told| when(kept.clone().is_not_null(), kept.clone()).otherwise(told));
    // Only an expression without a case is refused.
    both.unwrap_or(kept)
}
