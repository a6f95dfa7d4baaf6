//! The stored events as a table: what the catalog names at the moment of the scan.
//!
//! One rule: every scan asks the catalog afresh, in one statement. Parts and segments come
//! from one snapshot, so an event that is being merged is seen once, and a new part is seen.
//! Of several archives, an event that more than one of them holds is read from the first.

use std::cmp::Reverse;
use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, DataFusionError, Result, ScalarValue, Statistics, project_schema,
};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableProvider;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::path::Path as StorePath;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use parquet::arrow::arrow_reader::RowSelection;

use super::scope::Bounds;
use crate::archive::catalog::Catalog;
use crate::archive::copies::{Compared, Copies};
use crate::archive::schema;
use crate::archive::stored::StoredFile;

/// Above this many files the planner is not told what each of them holds: that takes some
/// 10 kB a file, and a query that reads so many gains little from it.
const DESCRIBED_FILES_MAX: usize = 20_000;

/// The stored columns of every event, the skeleton among them.
#[derive(Debug)]
pub(super) struct Stored {
    dirs: Vec<PathBuf>,
    copies: bool,
    schema: SchemaRef,
}

impl Stored {
    /// The events of the archives in these folders, which must be absolute paths; with the copies
    /// that several of them hold, or without.
    pub(super) fn of(dirs: &[PathBuf], copies: bool) -> Stored {
        Stored { dirs: dirs.to_vec(), copies, schema: viewed(&schema::events()) }
    }

    async fn files(&self, bounds: Bounds) -> Result<(Vec<StoredFile>, Copies)> {
        let (dirs, copies) = (self.dirs.clone(), self.copies);
        tokio::task::spawn_blocking(move || files(&dirs, copies, &bounds))
            .await
            .map_err(|it| DataFusionError::External(Box::new(it)))?
    }

    /// Files dealt out in turn, so that every group begins with the newest ones.
    fn groups(
        &self,
        files: &[StoredFile],
        copies: &Copies,
        partitions: usize,
    ) -> Result<Vec<FileGroup>> {
        let mut dealt: Vec<Vec<PartitionedFile>> = vec![Vec::new(); partitions.max(1)];
        let count = dealt.len();
        for (index, file) in files.iter().enumerate() {
            let mut entry = PartitionedFile::new("", file.bytes_stored);
            entry.object_meta.location = StorePath::from_absolute_path(&file.path)
                .map_err(|it| DataFusionError::External(Box::new(it)))?;
            let gone = copies.rows(&file.path);
            if files.len() <= DESCRIBED_FILES_MAX {
                let known = self.description(file);
                // What the catalog says of all rows is no more than a bound for those that are left.
                let known = if gone.is_empty() { known } else { known.to_inexact() };
                entry = entry.with_statistics(Arc::new(known));
            }
            if !gone.is_empty() {
                entry = entry.with_extension(ParquetRowSelection::new(without(gone, file.rows)));
            }
            if let Some(group) = dealt.get_mut(index % count) {
                group.push(entry);
            }
        }
        dealt.retain(|it| !it.is_empty());
        Ok(dealt.into_iter().map(FileGroup::new).collect())
    }

    /// What the catalog knows of a file: with it the planner counts without reading, and
    /// skips files once it holds enough newer events.
    fn description(&self, file: &StoredFile) -> Statistics {
        let mut known = Statistics::new_unknown(&self.schema);
        known.num_rows = usize::try_from(file.rows).map_or(Precision::Absent, Precision::Exact);
        for (field, column) in self.schema.fields().iter().zip(&mut known.column_statistics) {
            match field.name().as_str() {
                "seq" => {
                    let ends = [file.seq_first, file.seq_last];
                    *column = between(ends.map(|it| ScalarValue::Int64(Some(it))));
                    column.null_count = Precision::Exact(0);
                }
                "cluster" => {
                    let name = || ScalarValue::Utf8View(Some(file.cluster.clone()));
                    *column = between([name(), name()]);
                    column.null_count = Precision::Exact(0);
                }
                "time" => {
                    if let (Some(first), Some(last)) = (file.time_first, file.time_last) {
                        let zone = || Some("UTC".into());
                        let at = |it| ScalarValue::TimestampMicrosecond(Some(it), zone());
                        *column = between([at(first), at(last)]);
                    }
                }
                _ => {}
            }
        }
        known
    }
}

#[async_trait]
impl TableProvider for Stored {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Here they choose the files. The rows are tested in the Parquet reader: the physical
        // planner hands the conditions on to it, and keeps what the reader cannot test.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (files, copies) = self.files(Bounds::of(filters)).await?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let groups = self.groups(&files, &copies, state.config().target_partitions())?;
        let url = ObjectStoreUrl::local_filesystem();
        let runtime = state.runtime_env();
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(TableSchema::from(Arc::clone(&self.schema)))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let mut scan = FileScanConfigBuilder::new(url, Arc::new(source)).with_limit(limit);
        if files.len() <= DESCRIBED_FILES_MAX {
            let total = Statistics::try_merge_iter(
                groups.iter().flat_map(FileGroup::iter).filter_map(|it| it.statistics.as_deref()),
                &self.schema,
            )?;
            scan = scan.with_statistics(total);
        }
        let scan = scan.with_file_groups(groups).with_projection_indices(projection.cloned())?;
        Ok(DataSourceExec::from_data_source(scan.build()))
    }
}

/// The files of all archives, newest events first, and the rows to be left out of them.
fn files(dirs: &[PathBuf], copies: bool, bounds: &Bounds) -> Result<(Vec<StoredFile>, Copies)> {
    let external = |it: Box<dyn Error + Send + Sync>| DataFusionError::External(it);
    let compared = if copies || dirs.len() == 1 {
        let list = |dir: &PathBuf| Catalog::open(dir).and_then(|it| it.files(&bounds.scope));
        let archives = dirs.iter().map(list).collect::<Result<_, _>>();
        Compared { archives: archives.map_err(|it| external(it.into()))?, ..Compared::default() }
    } else {
        Compared::of(dirs, &bounds.scope).map_err(|it| external(it.into()))?
    };
    let mut files: Vec<StoredFile> = compared.archives.into_iter().flatten().collect();
    files.retain(|it| bounds.admit(it));
    if dirs.len() > 1 {
        files.sort_by_key(|it| Reverse((it.time_last, it.seq_first)));
    }
    Ok((files, compared.copies))
}

/// All rows of a file but these.
fn without(gone: &[Range<usize>], rows: u64) -> RowSelection {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let starts = std::iter::once(0).chain(gone.iter().map(|it| it.end));
    let ends = gone.iter().map(|it| it.start).chain([rows]);
    RowSelection::from_consecutive_ranges(starts.zip(ends).map(|(from, to)| from..to), rows)
}

fn between([first, last]: [ScalarValue; 2]) -> ColumnStatistics {
    ColumnStatistics {
        min_value: Precision::Exact(first),
        max_value: Precision::Exact(last),
        ..ColumnStatistics::new_unknown()
    }
}

/// The same columns with texts as views: a filtered scan copies no text then, which halves
/// the time of a search for a substring.
fn viewed(stored: &Schema) -> SchemaRef {
    let view = |field: &Field| {
        let kind = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            other => other.clone(),
        };
        field.clone().with_data_type(kind)
    };
    Arc::new(Schema::new(stored.fields().iter().map(|it| view(it)).collect::<Vec<_>>()))
}
