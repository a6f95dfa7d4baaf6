//! The functions SQL gets from here: the line rebuilt from its columns, and the test of a list.
//!
//! One rule: a line costs nothing until a query names it. So it is a function of stored
//! columns, which the planner drops when nobody asks.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanBuilder, RecordBatch, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::prelude::ident;
use regex::RegexBuilder;

use super::field;
use super::language::REGEX_BYTES_MAX;
use crate::archive::schema;
use crate::archive::skeleton::Rebuilder;

/// How many bytes of columns are turned into plain arrays at a time. Plain arrays count
/// their bytes in 31 bits, and a batch of large bodies can hold more than that.
const STEP_BYTES_MAX: usize = 64 << 20;

/// The line as text, with U+FFFD for what is no UTF-8.
pub(super) fn text() -> Expr {
    call(false)
}

/// The line's bytes.
pub(super) fn bytes() -> Expr {
    call(true)
}

/// Whether a member of a list matches a regular expression.
pub(super) fn any_match() -> ScalarUDF {
    ScalarUDF::from(AnyMatch { signature: Signature::any(2, Volatility::Immutable) })
}

fn call(exact: bool) -> Expr {
    let sources = sources();
    let signature = Signature::new(TypeSignature::Any(sources.len()), Volatility::Immutable);
    let columns = sources.into_iter().map(ident).collect();
    ScalarUDF::from(Line { exact, signature }).call(columns)
}

/// The columns a line is rebuilt from, in the order the function takes them.
fn sources() -> Vec<&'static str> {
    schema::CUTS.iter().map(|cut| cut.name).chain([schema::SKELETON]).collect()
}

/// `raw` and `raw_bytes`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Line {
    exact: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Line {
    fn name(&self) -> &str {
        if self.exact { field::RAW_BYTES } else { field::RAW }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.exact { DataType::BinaryView } else { DataType::Utf8View })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns: Vec<ArrayRef> =
            args.args.into_iter().map(|it| it.into_array(rows)).collect::<Result<_>>()?;
        let mut line = Vec::new();
        let lines: ArrayRef = if self.exact {
            let mut out = BinaryViewBuilder::with_capacity(rows);
            each(&columns, rows, &mut line, |it| out.append_value(it))?;
            Arc::new(out.finish())
        } else {
            let mut out = StringViewBuilder::with_capacity(rows);
            each(&columns, rows, &mut line, |it| out.append_value(String::from_utf8_lossy(it)))?;
            Arc::new(out.finish())
        };
        Ok(ColumnarValue::Array(lines))
    }
}

/// Rebuilds every line and hands it to `take`.
fn each(
    columns: &[ArrayRef],
    rows: usize,
    line: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ArrowError> {
    for step in steps(columns, rows) {
        let length = step.len();
        let mut fields = Vec::with_capacity(columns.len());
        let mut plain = Vec::with_capacity(columns.len());
        for (name, column) in sources().into_iter().zip(columns) {
            let stored = schema::events();
            let kind = stored.field_with_name(name)?.data_type();
            plain.push(cast(&column.slice(step.start, length), kind)?);
            fields.push(Field::new(name, kind.clone(), true));
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), plain)?;
        let rebuilder = Rebuilder::new(&batch)?;
        for row in 0..length {
            line.clear();
            rebuilder.rebuild(row, line);
            take(line);
        }
    }
    Ok(())
}

/// Runs of rows whose texts together stay below the limit; one row may exceed it alone.
fn steps(columns: &[ArrayRef], rows: usize) -> Vec<Range<usize>> {
    let views: Vec<&[u128]> = columns
        .iter()
        .filter_map(|it| match it.data_type() {
            DataType::Utf8View => Some(&it.as_string_view().views()[..]),
            DataType::BinaryView => Some(&it.as_binary_view().views()[..]),
            _ => None,
        })
        .collect();
    let mut steps = Vec::new();
    let mut start = 0;
    let mut bytes = 0_usize;
    for row in 0..rows {
        // The low four bytes of a view are the length of its value.
        let widths = views.iter().filter_map(|it| it.get(row));
        let width: usize = widths.map(|it| (it & u128::from(u32::MAX)) as usize).sum();
        if row > start && bytes.saturating_add(width) > STEP_BYTES_MAX {
            steps.push(start..row);
            (start, bytes) = (row, 0);
        }
        bytes = bytes.saturating_add(width);
    }
    if start < rows {
        steps.push(start..rows);
    }
    steps
}

/// `any_match(list, regex)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AnyMatch {
    signature: Signature,
}

impl ScalarUDFImpl for AnyMatch {
    fn name(&self) -> &str {
        "any_match"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Ok([lists, ColumnarValue::Scalar(pattern)]) = <[ColumnarValue; 2]>::try_from(args.args)
        else {
            return exec_err!("any_match takes a list and a constant regular expression");
        };
        let (ScalarValue::Utf8(Some(pattern))
        | ScalarValue::Utf8View(Some(pattern))
        | ScalarValue::LargeUtf8(Some(pattern))) = pattern
        else {
            return exec_err!("any_match takes a list and a constant regular expression");
        };
        let regex = RegexBuilder::new(&pattern)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|it| DataFusionError::External(Box::new(it)))?;
        let lists = lists.into_array(rows)?;
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return exec_err!("any_match takes a list, as `groups` is one");
        };
        let mut found = BooleanBuilder::with_capacity(rows);
        let values = cast(lists.values(), &DataType::Utf8)?;
        let values = values.as_string::<i32>();
        for (row, ends) in lists.offsets().windows(2).enumerate() {
            let (Some(first), Some(last)) = (ends.first(), ends.last()) else { continue };
            let mut members = (*first..*last).filter_map(|it| usize::try_from(it).ok());
            let any = members.any(|it| values.is_valid(it) && regex.is_match(values.value(it)));
            found.append_option(lists.is_valid(row).then_some(any));
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;

    #[test]
    fn a_batch_of_large_lines_is_rebuilt_in_steps() {
        let large = "x".repeat(STEP_BYTES_MAX / 2 + 1);
        let texts: ArrayRef =
            Arc::new(StringViewArray::from(vec![large.as_str(), "a", large.as_str(), "b"]));
        assert_eq!(steps(std::slice::from_ref(&texts), 4), [0..2, 2..4]);
        assert_eq!(steps(&[texts.slice(1, 1)], 1).len(), 1);
        assert!(steps(&[], 0).is_empty());
    }
}
