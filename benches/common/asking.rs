//! What a question costs: it is asked some times, and the median counts.

#[cfg(feature = "sql")]
use {
    arrow::array::{Array, AsArray, RecordBatch},
    arrow::datatypes::DataType,
    kustos::query::sql::Engine,
    tokio::runtime::Runtime,
};

use rustix::time::ClockId;

/// What one of several rounds cost, and how many rows each gave.
pub(crate) struct Cost {
    pub(crate) wall: f64,
    /// Of all threads of the process.
    pub(crate) cpu: f64,
    pub(crate) rows: usize,
}

/// Asks once, and then so often as is counted.
pub(crate) fn cost(rounds: usize, mut ask: impl FnMut() -> usize) -> Cost {
    let rows = ask();
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut wall = 0.0;
        cpus.push(super::seconds(ClockId::ProcessCPUTime, || {
            wall = super::seconds(ClockId::Monotonic, || assert_eq!(ask(), rows));
        }));
        walls.push(wall);
    }
    Cost { wall: super::median(walls), cpu: super::median(cpus), rows }
}

/// The first column of an answer, as text.
#[cfg(feature = "sql")]
pub(crate) fn rows(runtime: &Runtime, engine: &Engine, sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches(runtime, engine, sql) {
        let first = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        let texts = first.as_string::<i32>();
        all.extend((0..texts.len()).map(|it| texts.value(it).to_owned()));
    }
    all
}

/// How many rows an answer has. The whole of it is in memory then, and nothing is made of it.
#[cfg(feature = "sql")]
pub(crate) fn count(runtime: &Runtime, engine: &Engine, sql: &str) -> usize {
    batches(runtime, engine, sql).iter().map(RecordBatch::num_rows).sum()
}

#[cfg(feature = "sql")]
fn batches(runtime: &Runtime, engine: &Engine, sql: &str) -> Vec<RecordBatch> {
    runtime.block_on(async {
        let mut answer = engine.sql(sql).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = answer.next().await.unwrap() {
            all.push(batch);
        }
        all
    })
}
