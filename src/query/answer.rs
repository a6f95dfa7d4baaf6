//! A plan -> its rows, beginning again when a running daemon replaces files under it.
//!
//! One rule: a row that was handed out is never handed out again. So rows are held back while
//! a query may begin again, and after that a lost file is an error.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures_util::StreamExt;

use crate::archive::catalog::CatalogError;

/// How often a query is begun, when files it needs are replaced under it.
pub const ATTEMPTS_MAX: usize = 5;

/// How many bytes of an answer are kept back until it is known that it need not begin again.
pub const HELD_BYTES_MAX: usize = 32 << 20;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// There is no archive, or it could not be read.
    #[error("the archive could not be opened")]
    Open(#[source] Box<CatalogError>),
    /// The statement would change something.
    #[error(
        "{what} is refused: an archive is only read here; write SELECT, EXPLAIN, DESCRIBE or SHOW TABLES"
    )]
    ReadOnly {
        /// The statement's first words.
        what: String,
    },
    /// No such column.
    #[error("there is no column {name:?}{}", nearest.map(|it| format!(": did you mean {it:?}?")).unwrap_or_default())]
    Column {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<&'static str>,
    },
    /// The query is wrong, or reading failed.
    #[error("the query failed")]
    Query(#[source] Box<DataFusionError>),
    /// Files the catalog names are not there, time after time.
    #[error(
        "files of the archive were missing in {ATTEMPTS_MAX} attempts; `kustos archive verify` tells which are lost"
    )]
    Missing(#[source] Box<DataFusionError>),
    /// A file was replaced after rows had been handed out.
    #[error(
        "the archive changed while the answer was being read; ask again, or for less at a time"
    )]
    Changed(#[source] Box<DataFusionError>),
}

impl SqlError {
    /// Whether the question is wrong, and not the archive or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            SqlError::ReadOnly { .. } | SqlError::Column { .. } => true,
            SqlError::Query(error) => matches!(
                error.find_root(),
                DataFusionError::SQL(..)
                    | DataFusionError::Plan(_)
                    | DataFusionError::SchemaError(..)
                    | DataFusionError::NotImplemented(_)
            ),
            _ => false,
        }
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> SqlError {
        SqlError::Query(Box::new(error))
    }
}

/// Rows, as they come. Nothing is read that is not asked for.
pub struct Answer {
    schema: SchemaRef,
    held: VecDeque<RecordBatch>,
    rest: Option<SendableRecordBatchStream>,
    plan: Arc<dyn ExecutionPlan>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Answer {
    /// Answers a question, and begins again when files it needs are gone. `begins` is told the
    /// number of each attempt.
    pub(super) async fn of(
        context: &SessionContext,
        question: &LogicalPlan,
        mut begins: impl FnMut(usize),
    ) -> Result<Answer, SqlError> {
        let mut attempt = 1;
        loop {
            begins(attempt);
            // Planned anew each time: that is when the catalog is asked for its files.
            let state = context.state();
            let plan = state.create_physical_plan(question).await?;
            match Answer::begin(Arc::clone(&plan), context.task_ctx()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !is_missing(&plan) => return Err(error.into()),
                Err(error) if attempt == ATTEMPTS_MAX => {
                    return Err(SqlError::Missing(Box::new(error)));
                }
                Err(error) => {
                    tracing::debug!(%error, "the archive changed under a query; it begins again");
                }
            }
            attempt += 1;
        }
    }

    /// Holds back what comes until it is the end or enough.
    async fn begin(
        plan: Arc<dyn ExecutionPlan>,
        task: Arc<TaskContext>,
    ) -> Result<Answer, DataFusionError> {
        let mut stream = execute_stream(Arc::clone(&plan), task)?;
        let schema = stream.schema();
        let mut held = VecDeque::new();
        let mut bytes = 0_usize;
        while bytes < HELD_BYTES_MAX {
            let Some(batch) = stream.next().await else {
                return Ok(Answer { schema, held, rest: None, plan });
            };
            let batch = batch?;
            bytes = bytes.saturating_add(batch.get_array_memory_size());
            held.push_back(batch);
        }
        Ok(Answer { schema, held, rest: Some(stream), plan })
    }

    /// The answer's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many events were left out because an archive before theirs holds them too: among those
    /// of the times and the cluster that are asked for.
    pub fn copies(&self) -> u64 {
        copies(&self.plan)
    }

    /// How many files the answer is looked for in: those that the catalog and its index could not rule out.
    pub fn files(&self) -> usize {
        let mut paths = BTreeSet::new();
        each_file(&self.plan, &mut |file| paths.extend([file.path().clone()]));
        paths.len()
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// When reading fails; then what was handed out is no whole answer.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if let Some(batch) = self.held.pop_front() {
            return Ok(Some(batch));
        }
        let Some(stream) = self.rest.as_mut() else { return Ok(None) };
        match stream.next().await {
            Some(Ok(batch)) => Ok(Some(batch)),
            Some(Err(error)) if is_missing(&self.plan) => Err(SqlError::Changed(Box::new(error))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(None),
        }
    }
}

/// How many rows a plan leaves out because an archive before theirs has them. A table that is read several
/// times, as in a join, counts once.
fn copies(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let mut of_files = BTreeMap::new();
    each_file(plan, &mut |file| {
        if let Some(rows) = file.extension::<ParquetRowSelection>() {
            let count = rows.selection().skipped_row_count() as u64;
            let known: &mut u64 = of_files.entry(file.path().clone()).or_default();
            *known = count.max(*known);
        }
    });
    of_files.values().sum()
}

/// Whether a file a plan reads is no longer there. Asked only after a failure, whose own words
/// do not tell: on its way up through the reader an error loses what it was.
fn is_missing(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut missing = false;
    each_file(plan, &mut |it| missing |= !Path::new("/").join(it.path().as_ref()).exists());
    missing
}

/// Shows every file that a plan reads.
fn each_file(plan: &Arc<dyn ExecutionPlan>, show: &mut dyn FnMut(&PartitionedFile)) {
    let scan = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|it| it.data_source().downcast_ref::<FileScanConfig>());
    scan.into_iter().flat_map(|it| &it.file_groups).flat_map(FileGroup::iter).for_each(&mut *show);
    plan.children().into_iter().for_each(|it| each_file(it, show));
}
