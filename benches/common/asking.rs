//! What a question costs: it is asked some times, and the median counts.

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
pub(crate) fn rows(
    runtime: &tokio::runtime::Runtime,
    engine: &kustos::query::sql::Engine,
    sql: &str,
) -> Vec<String> {
    use arrow::array::{Array, AsArray};

    runtime.block_on(async {
        let mut answer = engine.sql(sql).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = answer.next().await.unwrap() {
            let first = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
            let first = first.unwrap();
            let texts = first.as_string::<i32>();
            all.extend((0..texts.len()).map(|it| texts.value(it).to_owned()));
        }
        all
    })
}
