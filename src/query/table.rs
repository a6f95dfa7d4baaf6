//! The stored events as a table: what the catalog names at the moment of the scan.
//!
//! One rule: every scan asks the catalog afresh, in one statement. Parts and segments come
//! from one snapshot, so an event that is being merged is seen once, and a new part is seen.

use std::path::{Path, PathBuf};
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
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::path::Path as StorePath;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::scope::Bounds;
use crate::archive::catalog::Catalog;
use crate::archive::schema;
use crate::archive::stored::StoredFile;

/// Above this many files the planner is not told what each of them holds: that takes some
/// 10 kB a file, and a query that reads so many gains little from it.
const DESCRIBED_FILES_MAX: usize = 20_000;

/// The stored columns of every event, the skeleton among them.
#[derive(Debug)]
pub(super) struct Stored {
    dir: PathBuf,
    schema: SchemaRef,
}

impl Stored {
    /// The events of the archive at `dir`, which must be an absolute path.
    pub(super) fn of(dir: &Path) -> Stored {
        Stored { dir: dir.to_owned(), schema: viewed(&schema::events()) }
    }

    async fn files(&self, bounds: Bounds) -> Result<Vec<StoredFile>> {
        let dir = self.dir.clone();
        let read = move || -> Result<Vec<StoredFile>> {
            let files = Catalog::open(&dir).and_then(|it| it.files(&bounds.scope));
            let mut files = files.map_err(|it| DataFusionError::External(Box::new(it)))?;
            files.retain(|it| bounds.admit(it));
            Ok(files)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|it| DataFusionError::External(Box::new(it)))?
    }

    /// Files dealt out in turn, so that every group begins with the newest ones.
    fn groups(&self, files: &[StoredFile], partitions: usize) -> Result<Vec<FileGroup>> {
        let mut dealt: Vec<Vec<PartitionedFile>> = vec![Vec::new(); partitions.max(1)];
        let count = dealt.len();
        for (index, file) in files.iter().enumerate() {
            let mut entry = PartitionedFile::new("", file.bytes_stored);
            entry.object_meta.location = StorePath::from_absolute_path(&file.path)
                .map_err(|it| DataFusionError::External(Box::new(it)))?;
            if files.len() <= DESCRIBED_FILES_MAX {
                entry = entry.with_statistics(Arc::new(self.description(file)));
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
        let files = self.files(Bounds::of(filters)).await?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let groups = self.groups(&files, state.config().target_partitions())?;
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
