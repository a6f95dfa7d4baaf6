//! The tables `alerts` and `segments`: what the catalog lists, read when a query asks.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::archive::catalog::{Catalog, CatalogError, SegmentRow};
use crate::archive::outbox::FindingRow;
use crate::event;

/// How many alerts a query sees: the newest ones.
const ALERTS_MAX: u64 = 1_000_000;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// What was found.
    Alerts,
    /// Every segment, also those that have expired.
    Segments,
}

/// One listing of the archives in these folders as a table.
#[derive(Debug)]
pub(super) struct Listed {
    listing: Listing,
    dirs: Vec<PathBuf>,
}

impl Listed {
    pub(super) fn of(listing: Listing, dirs: &[PathBuf]) -> Listed {
        Listed { listing, dirs: dirs.to_vec() }
    }
}

#[async_trait]
impl TableProvider for Listed {
    fn schema(&self) -> SchemaRef {
        match self.listing {
            Listing::Alerts => batch(alerts(&[])).schema(),
            Listing::Segments => batch(segments(&[])).schema(),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (listing, dirs) = (self.listing, self.dirs.clone());
        let rows = tokio::task::spawn_blocking(move || read(listing, &dirs))
            .await
            .map_err(|it| DataFusionError::External(Box::new(it)))?
            .map_err(|it| DataFusionError::External(Box::new(it)))?;
        MemTable::try_new(rows.schema(), vec![vec![rows]])?
            .scan(state, projection, filters, limit)
            .await
    }
}

fn read(listing: Listing, dirs: &[PathBuf]) -> Result<RecordBatch, CatalogError> {
    let catalogs = dirs.iter().map(|it| Catalog::open(it)).collect::<Result<Vec<_>, _>>()?;
    Ok(match listing {
        Listing::Alerts => batch(alerts(&found(&catalogs)?)),
        Listing::Segments => {
            let of_each = catalogs.iter().map(Catalog::segments).collect::<Result<Vec<_>, _>>()?;
            batch(segments(&of_each.concat()))
        }
    })
}

/// The newest alerts of all archives. One that several of them have is the same alert, as its id says.
fn found(catalogs: &[Catalog]) -> Result<Vec<FindingRow>, CatalogError> {
    if let [catalog] = catalogs {
        return catalog.findings(ALERTS_MAX);
    }
    let (mut ids, mut all) = (BTreeSet::new(), Vec::new());
    for catalog in catalogs {
        let mut rows = catalog.findings(ALERTS_MAX)?;
        rows.retain(|it| ids.insert(it.id.clone()));
        all.append(&mut rows);
    }
    all.sort_by_cached_key(|it| Reverse(it.time.as_deref().and_then(event::micros)));
    all.truncate(usize::try_from(ALERTS_MAX).unwrap_or(usize::MAX));
    Ok(all)
}

/// A column's name, whether it is always there, and its values.
type Columns = Vec<(&'static str, bool, ArrayRef)>;

fn alerts(rows: &[FindingRow]) -> Columns {
    vec![
        text("id", rows, |it| it.id.clone()),
        text("rule", rows, |it| it.rule.clone()),
        text("title", rows, |it| it.title.clone()),
        text("level", rows, |it| it.level.clone()),
        text("cluster", rows, |it| it.cluster.clone()),
        time("time", rows, |it| it.time.as_deref().and_then(event::micros)),
        text("body", rows, |it| it.body.clone()),
    ]
}

fn segments(rows: &[SegmentRow]) -> Columns {
    let count = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    vec![
        text("id", rows, |it| it.file.id.clone()),
        text("cluster", rows, |it| it.file.cluster.clone()),
        text("date", rows, |it| it.file.date.clone()),
        number("rows", rows, |it| count(it.file.rows)),
        number("bytes_in", rows, |it| count(it.file.bytes_in)),
        number("bytes_stored", rows, |it| count(it.file.bytes_stored)),
        number("seq_first", rows, |it| it.file.seq_first),
        number("seq_last", rows, |it| it.file.seq_last),
        time("time_first", rows, |it| it.file.time_first),
        time("time_last", rows, |it| it.file.time_last),
        time("sealed", rows, |it| Some(it.file.created)),
        text("sha256", rows, |it| it.file.sha256.clone()),
        text("event_root", rows, |it| it.event_root.clone()),
        time("retain_until", rows, |it| Some(it.retain_until)),
        time("expired", rows, |it| it.expired),
        text("path", rows, |it| it.file.path.display().to_string()),
    ]
}

fn text<R>(name: &'static str, rows: &[R], of: fn(&R) -> String) -> (&'static str, bool, ArrayRef) {
    (name, true, Arc::new(StringArray::from_iter_values(rows.iter().map(of))))
}

fn number<R>(
    name: &'static str,
    rows: &[R],
    of: impl Fn(&R) -> i64,
) -> (&'static str, bool, ArrayRef) {
    (name, true, Arc::new(Int64Array::from_iter_values(rows.iter().map(of))))
}

fn time<R>(
    name: &'static str,
    rows: &[R],
    of: fn(&R) -> Option<i64>,
) -> (&'static str, bool, ArrayRef) {
    let times = TimestampMicrosecondArray::from_iter(rows.iter().map(of));
    (name, false, Arc::new(times.with_timezone("UTC")))
}

fn batch(columns: Columns) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, always, values)| Field::new(*name, values.data_type().clone(), !always))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let values = columns.into_iter().map(|(_, _, values)| values).collect();
    RecordBatch::try_new(Arc::clone(&schema), values)
        .unwrap_or_else(|_| unreachable!("columns made of the same rows have one length"))
}
