//! Questions -> answers, over an archive or several: SQL, and searches as the same plans.
//!
//! One rule: reading only. An answer is whole or an error: a file that a running daemon
//! replaces under a query makes the query begin again, and never a row come twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext, ident, lit};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

pub use super::answer::{ATTEMPTS_MAX, Answer, HELD_BYTES_MAX, SqlError};
use super::computed;
use super::dialect;
use super::field::{self, RAW, RAW_BYTES};
use super::language::Query;
use super::line;
use super::listing::{Listed, Listing};
use super::lower;
use super::table::Stored;
use crate::archive::catalog::{Catalog, Scope};
use crate::archive::schema;

/// What a search shows when it does not say.
pub const SEARCH_ROWS: usize = 100;

/// What a search shows of each event when it does not say.
pub const SEARCH_COLUMNS: [&str; 10] = [
    "time",
    "cluster",
    "verb",
    "user",
    "source_ips",
    "resource",
    "namespace",
    "name",
    "code",
    "audit_id",
];

/// What a query may take.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that sorting, grouping and joining may hold; beyond it they use the disk or fail.
    pub memory_bytes_max: usize,
    /// Bytes of Parquet footers that are kept for the next query.
    pub metadata_cache_bytes_max: usize,
    /// Threads a query may keep busy.
    pub threads_max: usize,
    /// Whether an event that several archives hold is there as often, and not once.
    pub copies: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory_bytes_max: 2 << 30,
            metadata_cache_bytes_max: 512 << 20,
            threads_max: std::thread::available_parallelism().map_or(1, usize::from),
            copies: false,
        }
    }
}

/// What to look for, and what to show of it.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which events.
    pub query: Query,
    /// Only events of this time and cluster.
    pub scope: Scope,
    /// How many events, the newest first.
    pub rows_max: usize,
    /// The columns to show, by any name a search knows, `raw` and `raw_bytes` among them.
    pub columns: Vec<String>,
}

impl Search {
    /// The newest events for which `query` holds.
    pub fn of(query: Query) -> Search {
        let columns = SEARCH_COLUMNS.map(str::to_owned).to_vec();
        Search { query, scope: Scope::default(), rows_max: SEARCH_ROWS, columns }
    }
}

/// One archive or several, open for questions. Cheap to ask from many tasks at once.
#[derive(Clone)]
pub struct Engine {
    context: SessionContext,
    events: Arc<dyn TableSource>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the archive at `dir` with the default settings.
    ///
    /// # Errors
    /// When there is no archive.
    pub fn open(dir: &Path) -> Result<Engine, SqlError> {
        Engine::open_with(&[dir.to_owned()], &Settings::default())
    }

    /// Opens the archives in these folders. What more than one of them holds is the first one's.
    ///
    /// # Errors
    /// When one of them is no archive.
    pub fn open_with(dirs: &[PathBuf], settings: &Settings) -> Result<Engine, SqlError> {
        let open = |dir: &PathBuf| {
            Catalog::open(dir).map_err(|it| SqlError::Open(Box::new(it)))?;
            // The reader takes absolute paths only.
            Ok::<_, SqlError>(dir.canonicalize().map_err(DataFusionError::IoError)?)
        };
        let dirs = dirs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let context = context(settings)?;
        let events = provider_as_source(Arc::new(Stored::of(&dirs, settings.copies)));
        let view = LogicalPlanBuilder::scan("archive", Arc::clone(&events), None)?
            .project(visible())?
            .build()?;
        context.register_table("events", Arc::new(ViewTable::new(view, None)))?;
        for (name, listing) in [("alerts", Listing::Alerts), ("segments", Listing::Segments)] {
            context.register_table(name, Arc::new(Listed::of(listing, &dirs)))?;
        }
        context.register_udf(line::any_match());
        Ok(Engine { context, events })
    }

    /// Answers one SQL statement that reads.
    ///
    /// # Errors
    /// When the statement would write, is wrong, or reading fails.
    pub async fn sql(&self, text: &str) -> Result<Answer, SqlError> {
        let state = self.context.state();
        let statement = dialect::statement(text)?;
        if !reads(&statement) {
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            return Err(SqlError::ReadOnly { what: words.join(" ") });
        }
        let plan = state.statement_to_plan(statement).await?;
        let only_reads = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        only_reads
            .verify_plan(&plan)
            .map_err(|it| SqlError::ReadOnly { what: it.strip_backtrace() })?;
        self.answer(plan).await
    }

    /// Answers a search: the newest events first, those without a time last.
    ///
    /// # Errors
    /// When a column is unknown or reading fails.
    pub async fn search(&self, search: &Search) -> Result<Answer, SqlError> {
        self.answer(self.plan(search)?).await
    }

    fn plan(&self, search: &Search) -> Result<LogicalPlan, SqlError> {
        let shown = search.columns.iter().map(|it| shown(it)).collect::<Result<Vec<_>, _>>()?;
        let mut plan = LogicalPlanBuilder::scan("archive", Arc::clone(&self.events), None)?;
        for condition in within(&search.scope) {
            plan = plan.filter(condition)?;
        }
        // Lines are rebuilt above the limit, so only those that are shown.
        let newest = [ident("time").sort(false, false), ident("seq").sort(false, false)];
        Ok(plan
            .filter(lower::condition(&search.query))?
            .sort_with_limit(newest, Some(search.rows_max))?
            .project(shown)?
            .build()?)
    }

    async fn answer(&self, question: LogicalPlan) -> Result<Answer, SqlError> {
        Answer::of(&self.context, &question, |_| ()).await
    }
}

fn context(settings: &Settings) -> Result<SessionContext, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(settings.threads_max)
        .with_information_schema(true);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    // Its files have none; the catalog is the place to ask which file.
    options.execution.parquet.bloom_filter_on_read = false;
    // Dealing sorted rows out again would lose their order where its columns are not shown.
    options.optimizer.enable_round_robin_repartition = false;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(settings.memory_bytes_max, 1.0)
        .with_metadata_cache_limit(settings.metadata_cache_bytes_max)
        .build_arc()?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// The columns of table `events`.
fn visible() -> Vec<Expr> {
    let stored = schema::events();
    let names = stored.fields().iter().map(|it| it.name().as_str());
    names
        .filter(|it| *it != schema::SKELETON)
        .chain([RAW, RAW_BYTES])
        .map(computed::column)
        .collect()
}

fn shown(name: &str) -> Result<Expr, SqlError> {
    if name == RAW_BYTES {
        return Ok(computed::column(RAW_BYTES));
    }
    match field::find(name) {
        Some(column) => Ok(computed::column(&column.name)),
        None => Err(SqlError::Column { name: name.to_owned(), nearest: field::nearest(name) }),
    }
}

fn within(scope: &Scope) -> Vec<Expr> {
    let at = |it| lit(ScalarValue::TimestampMicrosecond(Some(it), Some("UTC".into())));
    let since = scope.since.map(|it| ident("time").gt_eq(at(it)));
    let until = scope.until.map(|it| ident("time").lt(at(it)));
    let cluster = scope.cluster.as_deref().map(|it| ident("cluster").eq(lit(it)));
    since.into_iter().chain(until).chain(cluster).collect()
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::Statement(statement) => matches!(
            statement.as_ref(),
            ast::Statement::Query(_)
                | ast::Statement::ExplainTable { .. }
                | ast::Statement::ShowTables { .. }
                | ast::Statement::ShowColumns { .. }
                | ast::Statement::ShowFunctions { .. }
                | ast::Statement::ShowVariable { .. }
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::columns::Columns;
    use crate::archive::commit::{Commit, NewPart};
    use crate::archive::outbox::FindingRow;
    use crate::archive::part;
    use crate::archive::stored::{StoredFile, part_path};
    use crate::cause;
    use crate::decode::{self, Row};
    use crate::event;
    use arrow::array::AsArray;
    use arrow::json::{LineDelimitedWriter, ReaderBuilder};
    use datafusion::physical_plan::displayable;
    use parquet::arrow::ArrowWriter;
    use serde_json::{Value, json};
    use std::fmt::Write;
    use std::fs::{File, create_dir};

    /// An archive of parts in a temporary folder.
    struct Fixture {
        dir: tempfile::TempDir,
        catalog: Catalog,
        seq: i64,
    }

    impl Fixture {
        fn new() -> Fixture {
            let dir = tempfile::tempdir().unwrap();
            create_dir(dir.path().join("parts")).unwrap();
            let catalog = Catalog::create(dir.path()).unwrap();
            Fixture { dir, catalog, seq: 0 }
        }

        /// Adds a part of events given as their columns; `raw` is the line, kept whole.
        fn part(&mut self, id: &str, cluster: &str, events: &[Value]) {
            let first = self.seq;
            let mut lines = String::new();
            let mut times: Vec<i64> = Vec::new();
            for event in events {
                let mut row = event.as_object().unwrap().clone();
                let raw = row.remove("raw");
                let raw = raw.as_ref().and_then(Value::as_str).unwrap_or("{}");
                let hex: String = raw.chars().map(|it| format!("{:02x}", it as u32)).collect();
                times.extend(row.get("time").and_then(|it| event::micros(it.as_str().unwrap())));
                let fixed = json!({"seq": self.seq, "ingested": "2026-11-23T00:00:00Z",
                    "cluster": cluster, "integrity": "whole", "skeleton": format!("00{hex}")});
                row.extend(fixed.as_object().unwrap().clone());
                writeln!(lines, "{}", Value::Object(row)).unwrap();
                self.seq += 1;
            }
            let mut reader = ReaderBuilder::new(schema::events())
                .with_batch_size(events.len())
                .build(lines.as_bytes())
                .unwrap();
            let batch = reader.next().unwrap().unwrap();
            let path = part_path(self.dir.path(), id);
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, schema::events(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let stored = StoredFile {
                id: id.to_owned(),
                bytes_stored: path.metadata().unwrap().len(),
                path,
                cluster: cluster.to_owned(),
                date: "2026-11-23".to_owned(),
                rows: u64::try_from(events.len()).unwrap(),
                bytes_in: 0,
                seq_first: first,
                seq_last: self.seq - 1,
                time_first: times.iter().min().copied(),
                time_last: times.iter().max().copied(),
                created: 0,
                sha256: String::new(),
            };
            let part = NewPart { file: stored, leaves: Vec::new(), sources: "{}".to_owned() };
            let commit = Commit { parts: vec![part], next_seq: self.seq, ..Commit::default() };
            self.catalog.commit(&commit).unwrap();
        }

        fn engine(&self) -> Engine {
            Engine::open(self.dir.path()).unwrap()
        }

        async fn sql(&self, text: &str) -> String {
            written(self.engine().sql(text).await).await
        }

        /// The names of the events a search finds, newest first.
        async fn search(&self, text: &str) -> String {
            let query = Query::parse(text, 0).unwrap();
            let search = Search { columns: vec!["name".to_owned()], ..Search::of(query) };
            let found = written(self.engine().search(&search).await).await;
            let names = found.lines().map(|it| {
                let row: Value = serde_json::from_str(it).unwrap_or_else(|_| panic!("{it}"));
                row["name"].as_str().unwrap().to_owned()
            });
            names.collect::<Vec<_>>().join(" ")
        }
    }

    async fn written(answer: Result<Answer, SqlError>) -> String {
        let mut out = Vec::new();
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => return cause::line(&error),
        };
        let mut writer = LineDelimitedWriter::new(&mut out);
        loop {
            match answer.next().await {
                Ok(Some(batch)) => writer.write(&batch).unwrap(),
                Ok(None) => break,
                Err(error) => return cause::line(&error),
            }
        }
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Three parts on three days in two clusters.
    fn fixture() -> Fixture {
        let mut fixture = Fixture::new();
        fixture.part("p1", "prod", &[
            json!({"name": "a", "time": "2026-11-21T10:00:00Z", "verb": "get", "user": "bob",
                "code": 200, "groups": ["system:masters", "dev"], "source_ips": ["10.0.0.1"],
                "raw": "{\"verb\":\"get\",\"note\":\"Exec Into\"}"}),
            json!({"name": "b", "time": "2026-11-21T11:00:00Z", "verb": "list", "user": "system:node",
                "code": 403, "groups": [], "raw": "caf\u{e9}"}),
        ]);
        fixture.part("p2", "prod", &[
            json!({"name": "c_d", "time": "2026-11-22T10:00:00Z", "verb": "get", "code": 404,
                "raw": "{\"x\":\"100%\"}"}),
            json!({"name": "cxd", "time": "2026-11-22T11:00:00Z", "verb": "watch", "user": "bob\\1"}),
        ]);
        fixture.part(
            "p3",
            "test",
            &[
                json!({"name": "e", "time": "2026-11-23T10:00:00Z", "verb": "get", "user": "50%"}),
                json!({"name": "f", "user": "nobody"}),
            ],
        );
        fixture
    }

    #[tokio::test]
    async fn sql_sees_every_part_and_every_column() {
        let fixture = fixture();
        for (sql, want) in [
            ("SELECT count(*) AS n FROM events", "{\"n\":6}\n"),
            ("SELECT user, code FROM events WHERE name = 'a'", "{\"user\":\"bob\",\"code\":200}\n"),
            (
                "SELECT e.user FROM events e WHERE user LIKE 'system:%' ORDER BY user",
                "{\"user\":\"system:node\"}\n",
            ),
            ("SELECT name FROM events WHERE array_has(groups, 'dev')", "{\"name\":\"a\"}\n"),
            ("SELECT name FROM events WHERE any_match(groups, '^system:')", "{\"name\":\"a\"}\n"),
            (
                "SELECT verb, count(*) AS n FROM events GROUP BY verb ORDER BY n DESC, verb LIMIT 1",
                "{\"verb\":\"get\",\"n\":3}\n",
            ),
            (
                "SELECT max(seq) AS s, min(time) AS t FROM events",
                "{\"s\":5,\"t\":\"2026-11-21T10:00:00Z\"}\n",
            ),
            (
                "SELECT count(*) AS n FROM events WHERE time >= '2026-11-22' AND time < '2026-11-23'",
                "{\"n\":2}\n",
            ),
            (
                "SELECT date_trunc('day', time) AS d FROM events WHERE user ~ '^5'",
                "{\"d\":\"2026-11-23T00:00:00Z\"}\n",
            ),
        ] {
            assert_eq!(fixture.sql(sql).await, want, "{sql}");
        }
    }

    #[tokio::test]
    async fn every_column_is_a_name_in_every_place() {
        let fixture = fixture();
        for (table, first) in [("events", "verb"), ("alerts", "rule"), ("segments", "sha256")] {
            let described = fixture.sql(&format!("DESCRIBE {table}")).await;
            assert!(described.lines().count() > 5, "{described}");
            for line in described.lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                let name = row["column_name"].as_str().unwrap();
                for sql in [
                    format!("SELECT 1, {name} FROM {table} WHERE {name} IS NOT NULL"),
                    format!("SELECT count(*), t.{name} FROM {table} t GROUP BY {first}, {name}"),
                    format!("SELECT {name} FROM {table} ORDER BY {first}, {name} LIMIT 1"),
                ] {
                    let got = fixture.sql(&sql).await;
                    assert!(got.lines().all(|it| it.starts_with('{')), "{sql}: {got}");
                }
            }
        }
        for sql in [
            "SELECT * EXCLUDE (raw, raw_bytes) FROM events WHERE groups[1] = 'dev' LIMIT 1",
            "FROM events SELECT cluster, count(*) FILTER (WHERE code >= 400) GROUP BY ALL",
            "SELECT name FROM events WHERE time > now() - INTERVAL '7 days' AND user ILIKE 'B%'",
            "SELECT name FROM events WHERE code::varchar LIKE '4%' AND verb IN ('get', 'list')",
            "WITH x AS (SELECT *, row_number() OVER (PARTITION BY user ORDER BY time) AS n FROM events) SELECT name, n FROM x WHERE n = 1",
        ] {
            let got = fixture.sql(sql).await;
            assert!(got.lines().all(|it| it.starts_with('{')), "{sql}: {got}");
        }
    }

    #[tokio::test]
    async fn a_line_comes_back_as_text_and_exactly() {
        let fixture = fixture();
        let got = fixture.sql("SELECT raw, raw_bytes FROM events WHERE name = 'b'").await;
        assert_eq!(got, "{\"raw\":\"caf\u{fffd}\",\"raw_bytes\":\"636166e9\"}\n");
        let got = fixture.sql("SELECT name FROM events WHERE raw LIKE '%Exec%'").await;
        assert_eq!(got, "{\"name\":\"a\"}\n");
        let got = fixture.sql("SELECT length(raw) AS n FROM events WHERE name = 'a'").await;
        assert_eq!(got, "{\"n\":33}\n");
    }

    #[tokio::test]
    async fn a_line_that_is_not_asked_for_is_not_read() {
        let fixture = fixture();
        let plan = fixture.sql("EXPLAIN SELECT verb, count(*) FROM events GROUP BY verb").await;
        assert!(plan.contains("projection=[verb]"), "{plan}");
        assert!(!plan.contains("skeleton"), "{plan}");
        let plan = fixture.sql("EXPLAIN SELECT name FROM events WHERE raw LIKE '%x%'").await;
        assert!(plan.contains("skeleton"), "{plan}");
    }

    #[tokio::test]
    async fn conditions_choose_the_files_and_are_tested_in_the_reader() {
        let fixture = fixture();
        let names = |plan: &str| -> String {
            ["p1", "p2", "p3"]
                .into_iter()
                .filter(|it| plan.contains(&format!("{it}.parquet")))
                .collect()
        };
        for (condition, files) in [
            ("true", "p1p2p3"),
            ("time >= '2026-11-22'", "p2p3"),
            ("time >= '2026-11-22T00:00:00Z' AND time < '2026-11-23T00:00:00Z'", "p2"),
            ("time BETWEEN '2026-11-20' AND '2026-11-21T12:00:00Z'", "p1"),
            ("time > now()", ""),
            ("cluster = 'test'", "p3"),
            ("seq = 3", "p2"),
            ("seq = 99", ""),
            ("time >= TIMESTAMP '2026-11-23 00:00:00'", "p3"),
            ("time >= DATE '2026-11-23'", "p3"),
        ] {
            let plan =
                fixture.sql(&format!("EXPLAIN SELECT name FROM events WHERE {condition}")).await;
            assert_eq!(names(&plan), files, "{condition}: {plan}");
        }
        let plan = fixture.sql("EXPLAIN SELECT name FROM events WHERE verb = 'get'").await;
        assert!(plan.contains("predicate=verb@"), "{plan}");
        assert!(!plan.contains("FilterExec"), "{plan}");
    }

    #[tokio::test]
    async fn a_search_finds_what_it_says() {
        let fixture = fixture();
        for (text, want) in [
            ("", "e cxd c_d b a f"),
            ("verb:get", "e c_d a"),
            ("verb:(get,watch) -cluster:test", "cxd c_d a"),
            ("name:c_*", "c_d"),
            ("name:c?d", "cxd c_d"),
            ("user:*%", "e"),
            (r#"user:"bob\\1""#, "cxd"),
            (r#"user:bob\\*"#, "cxd"),
            ("-user:bob*", "e c_d b f"),
            ("user:*", "e cxd b a f"),
            ("-user:*", "c_d"),
            ("groups:system:masters", "a"),
            ("groups:system:*", "a"),
            ("groups:/^d.v$/", "a"),
            ("-groups:dev", "e cxd c_d b f"),
            ("ip:10.0.0.?", "a"),
            ("code:>=400", "c_d b"),
            ("code:4xx -code:403", "c_d"),
            ("-code:4xx", "e cxd a f"),
            ("time:2026-11-22", "cxd c_d"),
            ("time:<2026-11-22 verb:list", "b"),
            ("\"exec into\"", "a"),
            ("exec*into", "a"),
            ("100%", "c_d"),
            ("10_%", ""),
            ("/caf./", "b"),
            ("-(verb:get OR verb:watch)", "b f"),
            ("verb:GET", ""),
            ("user:/^no/", "f"),
        ] {
            assert_eq!(fixture.search(text).await, want, "{text}");
        }
    }

    #[tokio::test]
    async fn a_search_is_limited_and_shows_the_columns_asked_for() {
        let fixture = fixture();
        let engine = fixture.engine();
        let columns = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        let mut search = Search { rows_max: 2, ..Search::of(Query::All) };
        search.scope.until = event::micros("2026-11-22T10:30:00Z");
        search.columns = columns(&["objectRef.name", "raw"]);
        let got = written(engine.search(&search).await).await;
        assert_eq!(
            got,
            "{\"name\":\"c_d\",\"raw\":\"{\\\"x\\\":\\\"100%\\\"}\"}\n\
            {\"name\":\"b\",\"raw\":\"caf\u{fffd}\"}\n"
        );
        search.columns = columns(&["nmae"]);
        let got = written(engine.search(&search).await).await;
        assert_eq!(got, "there is no column \"nmae\": did you mean \"name\"?");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_answer_stays_in_order_also_when_the_order_is_not_shown() {
        let mut fixture = Fixture::new();
        let at =
            |it: i64| format!("2026-11-23T{:02}:{:02}:{:02}Z", it / 3600, it / 60 % 60, it % 60);
        for (id, first) in [("p1", 0), ("p2", 1)] {
            let event = |it: i64| json!({"time": at(it), "name": it.to_string()});
            let events: Vec<Value> = (first..40_000).step_by(2).map(event).collect();
            fixture.part(id, "prod", &events);
        }
        let settings = Settings { threads_max: 4, ..Settings::default() };
        let engine = Engine::open_with(&[fixture.dir.path().to_owned()], &settings).unwrap();
        let want: Vec<String> = (0..40_000).rev().map(|it| it.to_string()).collect();
        let columns = vec!["name".to_owned(), "raw".to_owned()];
        let search = Search { rows_max: 50_000, columns, ..Search::of(Query::All) };
        let sql = "SELECT name, length(raw) FROM events ORDER BY time DESC";
        for answer in [engine.search(&search).await, engine.sql(sql).await] {
            let mut answer = answer.unwrap();
            let mut got: Vec<String> = Vec::new();
            while let Some(batch) = answer.next().await.unwrap() {
                let names = batch.column(0).as_string_view().iter();
                got.extend(names.map(|it| it.unwrap().to_owned()));
            }
            assert!(got == want, "{:?}", got.iter().zip(&want).position(|(a, b)| a != b));
        }
    }

    #[tokio::test]
    async fn what_would_write_is_refused() {
        let fixture = fixture();
        for sql in [
            "CREATE TABLE t AS SELECT 1",
            "INSERT INTO events (seq) VALUES (1)",
            "DELETE FROM events",
            "DROP TABLE events",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "SET datafusion.execution.batch_size = 1",
            "EXPLAIN ANALYZE INSERT INTO events (seq) VALUES (1)",
        ] {
            let got = fixture.sql(sql).await;
            assert!(got.contains("an archive is only read here"), "{sql}: {got}");
        }
        for sql in ["SHOW TABLES", "DESCRIBE events", "SHOW COLUMNS FROM events"] {
            let got = fixture.sql(sql).await;
            assert!(got.contains("events") || got.contains("raw_bytes"), "{sql}: {got}");
        }
        let got = fixture.sql("SELECT * FROM '/etc/passwd'").await;
        assert!(got.contains("not found"), "{got}");
    }

    #[tokio::test]
    async fn a_new_part_is_seen_and_a_lost_one_is_an_error() {
        let mut fixture = Fixture::new();
        let engine = fixture.engine();
        let count = "SELECT count(verb) AS n FROM events";
        assert_eq!(written(engine.sql(count).await).await, "{\"n\":0}\n");
        fixture.part("p1", "prod", &[json!({"verb": "get"})]);
        assert_eq!(written(engine.sql(count).await).await, "{\"n\":1}\n");
        fixture.part("p2", "prod", &[json!({"verb": "get"})]);
        std::fs::remove_file(part_path(fixture.dir.path(), "p2")).unwrap();
        let got = written(engine.sql(count).await).await;
        assert!(got.starts_with("files of the archive were missing in 5 attempts"), "{got}");
    }

    #[tokio::test]
    async fn alerts_and_segments_are_tables() {
        let mut fixture = fixture();
        let finding = FindingRow {
            id: "1".to_owned(),
            rule: "r".to_owned(),
            title: "t".to_owned(),
            level: "high".to_owned(),
            cluster: "prod".to_owned(),
            time: Some("2026-11-23T10:00:00.5Z".to_owned()),
            body: "{}".to_owned(),
            sinks: Vec::new(),
        };
        fixture.catalog.add_findings(&[finding], 0).unwrap();
        let got = fixture.sql("SELECT rule, time FROM alerts WHERE level = 'high'").await;
        assert_eq!(got, "{\"rule\":\"r\",\"time\":\"2026-11-23T10:00:00.500Z\"}\n");
        assert_eq!(fixture.sql("SELECT count(*) AS n FROM segments").await, "{\"n\":0}\n");
    }

    #[tokio::test]
    async fn there_must_be_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let error = Engine::open(dir.path()).unwrap_err();
        assert!(cause::line(&error).contains("is no archive"), "{}", cause::line(&error));
    }

    #[tokio::test]
    async fn a_query_begins_again_when_files_are_merged_under_it() {
        let fixture = fixture();
        let engine = fixture.engine();
        let path = part_path(fixture.dir.path(), "p2");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let search = Search { columns: vec!["name".to_owned()], ..Search::of(Query::All) };
        let plan = engine.plan(&search).unwrap();
        let mut attempts = 0;
        let answer = Answer::of(&engine.context, &plan, |attempt| {
            attempts = attempt;
            if attempt == 3 {
                crate::durable::write(&path, &bytes).unwrap();
            }
        });
        assert_eq!(written(answer.await).await.lines().count(), 6);
        assert_eq!(attempts, 3);
    }

    #[tokio::test]
    async fn a_search_rebuilds_only_the_lines_it_shows() {
        let fixture = fixture();
        let engine = fixture.engine();
        let query = Query::parse("verb:get", 0).unwrap();
        let search =
            Search { columns: vec!["time".to_owned(), "raw".to_owned()], ..Search::of(query) };
        let plan = engine.plan(&search).unwrap();
        let plan = engine.context.state().create_physical_plan(&plan).await.unwrap();
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        let (line, sort) = (plan.find("raw("), plan.find("TopK"));
        assert!(line.is_some() && line < sort, "{plan}");
    }

    #[tokio::test]
    async fn genuine_lines_come_back_byte_for_byte() {
        let log = std::fs::read("tests/data/audit-sample.log").unwrap();
        let lines: Vec<&[u8]> = log.split(|it| *it == b'\n').filter(|it| !it.is_empty()).collect();
        let mut fixture = Fixture::new();
        let mut columns = Columns::default();
        for (ordinal, line) in (0..).zip(&lines) {
            columns.append(&Row::plain(line, decode::line(line)), ordinal, [0; 32]);
        }
        let batch = columns.finish(&"prod".into(), "2026-11-23".to_owned(), 0, &lines).unwrap();
        let placed = [part::Placed { batch, first: 0 }];
        let part = part::write(fixture.dir.path(), &placed, "{}".to_owned(), 0).unwrap();
        let commit = Commit { parts: vec![part], ..Commit::default() };
        fixture.catalog.commit(&commit).unwrap();
        let engine = fixture.engine();
        let mut answer = engine.sql("SELECT raw_bytes FROM events ORDER BY seq").await.unwrap();
        let mut got: Vec<Vec<u8>> = Vec::new();
        while let Some(batch) = answer.next().await.unwrap() {
            got.extend(batch.column(0).as_binary_view().iter().map(|it| it.unwrap().to_vec()));
        }
        assert_eq!(got, lines);
        let secrets =
            fixture.sql("SELECT count(*) AS n FROM events WHERE resource = 'secrets'").await;
        let by_line = fixture
            .sql("SELECT count(*) AS n FROM events WHERE raw LIKE '%\"objectRef\":{\"resource\":\"secrets\"%'")
            .await;
        assert_eq!(secrets, by_line);
    }

    #[test]
    fn a_question_may_be_asked_on_any_thread() {
        fn sent<T: Send>(_: impl FnOnce(&'static Engine) -> T) {}
        sent(|it| it.sql(""));
        sent(|it| async { it.search(&Search::of(Query::All)).await.map(|_| ()) });
    }
}
