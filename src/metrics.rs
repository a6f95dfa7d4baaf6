//! What happened -> numbers. Every metric in one table, in the order of `docs/metrics.md`.
//!
//! One rule: a label's values are bounded by the configuration or by a table here, never by
//! what an event says; a client that invents words must not be able to fill the memory.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What every name begins with.
const PREFIX: &str = "kustos";

/// Upper ends of the buckets of a commit's duration: an fsync on a good disk, up to a stuck one.
const COMMIT_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper ends of the buckets of an answer's time: a refusal, a commit's usual wait, up to the longest body.
const ANSWER_BUCKETS: [f64; 11] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 5.0, 30.0];

/// What a metric's number may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word in the documentation and in `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One line of the table: a metric as the documentation lists it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name without the prefix and, for a counter, without `_total`.
    base: &'static str,
    /// What its number may do.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, without a full stop.
    pub help: &'static str,
}

impl Row {
    /// The name as it is scraped.
    pub fn name(&self) -> String {
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{PREFIX}_{}{total}", self.base)
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident),* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
        #[expect(missing_docs, reason = "each label is described in docs/metrics.md")]
        pub struct $name { $(pub $label: String),* }
    )* };
}

labels! {
    /// Of events: where they came from and their [`stage`].
    EventLabels { source, cluster, stage }
    /// Of bytes read, and of events that came again.
    SourceLabels { source, cluster }
    /// Of lines that are no audit events; `reason` is a `Flaw`'s word.
    MarkedLabels { cluster, reason }
    /// Of findings.
    FindingLabels { rule, level }
    /// Of one source.
    SourceLabel { source }
    /// Of requests to a webhook; no `source`: the path was unknown.
    WebhookLabels { source, code }
    /// Of a port.
    ListenLabel { listen }
    /// Of one sink.
    SinkLabel { sink }
    /// Of a delivery's end: `sent`, `retry` or `dead`.
    DeliveryLabels { sink, outcome }
    /// Of a reload's end: `reloaded`, `unchanged` or `failed`.
    ReloadLabels { outcome }
    /// Of the rule set in force.
    RulesetLabels { sha256 }
    /// Of the program.
    BuildLabels { version }
}

/// A gauge that holds seconds.
pub type SecondsGauge = Gauge<f64, AtomicU64>;

macro_rules! table {
    ($($field:ident: $type:ty = $make:expr, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        /// Every metric, in the order of the documentation.
        pub const TABLE: &[Row] = &[$(
            Row { base: stringify!($field), kind: Kind::$kind, labels: &[$($label),*], help: $help },
        )*];

        /// The handles of every metric. A field is named as in [`TABLE`].
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each metric is described in `TABLE`")]
        pub struct Handles {
            $(pub $field: $type,)*
            registry: Registry,
        }

        impl Handles {
            fn new() -> Handles {
                let mut registry = Registry::with_prefix(PREFIX);
                $(
                    let $field: $type = $make;
                    registry.register(stringify!($field), $help, $field.clone());
                )*
                Handles { $($field,)* registry }
            }
        }
    };
}

table! {
    events: Family<EventLabels, Counter> = Family::default(), Counter, ["source", "cluster", "stage"],
        "Audit events taken into the archive; the next commit makes them last";
    bytes: Family<SourceLabels, Counter> = Family::default(), Counter, ["source", "cluster"],
        "Bytes of lines taken into the archive; the next commit makes them last";
    lines_marked: Family<MarkedLabels, Counter> = Family::default(), Counter, ["cluster", "reason"],
        "Lines kept although they are no audit event, by reason";
    events_duplicate: Family<SourceLabels, Counter> = Family::default(), Counter, ["source", "cluster"],
        "Events that came again, byte for byte, and were not stored again";
    bodies_unread: Counter = Counter::default(), Counter, [],
        "Bodies that a rule asked for and that could not be read: nested too deeply, or a JSON patch over a limit";
    findings: Family<FindingLabels, Counter> = Family::default(), Counter, ["rule", "level"],
        "Findings by rule";
    rules_loaded: Gauge = Gauge::default(), Gauge, [],
        "Rules in force";
    ruleset_info: Family<RulesetLabels, Gauge> = Family::default(), Gauge, ["sha256"],
        "Always 1; the label is the hash of the rule set in force";
    rules_reloads: Family<ReloadLabels, Counter> = Family::default(), Counter, ["outcome"],
        "Attempts to load the rules anew, by how they ended: reloaded, unchanged, failed";
    rules_stale: Gauge = Gauge::default(), Gauge, [],
        "1 while older rules are in force because the last attempt to load them anew failed, else 0";
    correlation_groups: Gauge = Gauge::default(), Gauge, [],
        "Groups that correlations remember";
    correlation_bytes: Gauge = Gauge::default(), Gauge, [],
        "Memory that these groups take";
    correlation_groups_evicted: Counter = Counter::default(), Counter, [],
        "Groups forgotten before their time because all together took more than the limit";
    correlation_events_late: Counter = Counter::default(), Counter, [],
        "Events that came later than the lateness bound after a newer one, and were counted only where they stand";
    correlation_events_dropped: Counter = Counter::default(), Counter, [],
        "Events forgotten before their time because their group had too many, or counted by a rule that is gone";
    correlation_findings_bare: Counter = Counter::default(), Counter, [],
        "Groups whose findings show no events because what they show took more than the limit";
    source_lag_bytes: Family<SourceLabel, Gauge> = Family::default(), Gauge, ["source"],
        "Bytes that a source holds and that were not yet read";
    source_headroom_seconds: Family<SourceLabel, SecondsGauge> = Family::default(), Gauge, ["source"],
        "Seconds until the writer of a log begins to delete bytes that were not yet read, at the rate of the last minute";
    source_nul_bytes: Family<SourceLabel, Counter> = Family::default(), Counter, ["source"],
        "NUL bytes before lines of a log, which hold nothing and are not kept";
    source_silent: Family<SourceLabel, Gauge> = Family::default(), Gauge, ["source"],
        "1 while nothing has come from a source for longer than expected, else 0";
    source_lag_records: Family<SourceLabel, Gauge> = Family::default(), Gauge, ["source"],
        "Messages that brokers hold and that this process, of the partitions it has, has not yet read";
    source_records_empty: Family<SourceLabel, Counter> = Family::default(), Counter, ["source"],
        "Messages without a value: there was nothing to keep";
    source_records_unnamed: Family<SourceLabel, Counter> = Family::default(), Counter, ["source"],
        "Messages that name no cluster although they should; they are filed under the source's";
    webhook_requests: Family<WebhookLabels, Counter> = Family::default(), Counter, ["source", "code"],
        "Requests to a webhook source, by the code they were answered with";
    webhook_answer_seconds: Histogram = Histogram::new(ANSWER_BUCKETS), Histogram, [],
        "Time from a request's head to its answer, the commit of its events included";
    webhook_inflight_bytes: Family<SourceLabel, Gauge> = Family::default(), Gauge, ["source"],
        "Bytes of bodies that a webhook source holds until they are durable";
    webhook_connections_refused: Counter = Counter::default(), Counter, [],
        "Connections closed at once because connections_max were there";
    webhook_handshakes_failed: Counter = Counter::default(), Counter, [],
        "TLS handshakes that failed: no certificate, a wrong one, or no TLS at all";
    webhook_tls_stale: Family<ListenLabel, Gauge> = Family::default(), Gauge, ["listen"],
        "1 while older certificates are in force because the changed files cannot be used, else 0";
    parts_committed: Counter = Counter::default(), Counter, [],
        "Parts committed";
    segments_sealed: Counter = Counter::default(), Counter, [],
        "Segments sealed";
    commit_seconds: Histogram = Histogram::new(COMMIT_BUCKETS), Histogram, [],
        "Duration of a commit: write the part, sync it, record it";
    last_commit_timestamp_seconds: SecondsGauge = Gauge::default(), Gauge, [],
        "Time of the last commit, seconds since 1970";
    archive_stalled: Gauge = Gauge::default(), Gauge, [],
        "1 while the archive cannot be written, as on a full disk, and nothing is acknowledged, else 0";
    outbox_pending: Family<SinkLabel, Gauge> = Family::default(), Gauge, ["sink"],
        "Messages that wait to be delivered, those put off too; counted up to 1000";
    alerts_sent: Family<DeliveryLabels, Counter> = Family::default(), Counter, ["sink", "outcome"],
        "Tries to deliver an alert, by how they ended: sent, retry, dead";
    build_info: Family<BuildLabels, Gauge> = Family::default(), Gauge, ["version"],
        "Always 1; the label is the version of the program";
}

/// Every metric of one process. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Handles>);

impl std::ops::Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All at zero, and the build's version set.
    pub fn new() -> Metrics {
        let handles = Handles::new();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        handles.build_info.get_or_create(&BuildLabels { version }).set(1);
        Metrics(Arc::new(handles))
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail; a label that could not be written ends the text
        // before `# EOF`, which a scraper reports.
        if prometheus_client::encoding::text::encode(&mut text, &self.0.registry).is_err() {
            return String::new();
        }
        text
    }

    /// Names the rule set in force, in place of the one before.
    pub fn set_ruleset(&self, sha256: &str, rules: usize) {
        self.ruleset_info.clear();
        self.ruleset_info.get_or_create(&RulesetLabels { sha256: sha256.to_owned() }).set(1);
        self.rules_loaded.set(i64::try_from(rules).unwrap_or(i64::MAX));
    }

    /// Counts how one attempt to load the rules anew ended.
    pub fn reloaded(&self, outcome: &'static str) {
        let labels = ReloadLabels { outcome: outcome.to_owned() };
        self.rules_reloads.get_or_create(&labels).inc();
        self.rules_stale.set(i64::from(outcome == "failed"));
    }

    /// Counts how one try to deliver ended.
    pub fn delivered(&self, sink: &str, outcome: &'static str) {
        let labels = DeliveryLabels { sink: sink.to_owned(), outcome: outcome.to_owned() };
        self.alerts_sent.get_or_create(&labels).inc();
    }
}

/// The label for an event's stage: one of audit.k8s.io's four, or `other`.
pub fn stage(word: &str) -> &'static str {
    ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
        .into_iter()
        .find(|it| *it == word)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Makes a metric appear in the text even if nothing was counted yet.
    trait Touch {
        fn touch(&self);
    }
    impl<A, B> Touch for Gauge<A, B> {
        fn touch(&self) {}
    }
    impl<A, B> Touch for Counter<A, B> {
        fn touch(&self) {}
    }
    impl Touch for Histogram {
        fn touch(&self) {}
    }
    impl<L: Clone + std::hash::Hash + Eq + Default, M: Default> Touch for Family<L, M> {
        fn touch(&self) {
            drop(self.get_or_create(&L::default()));
        }
    }

    fn touched() -> String {
        let metrics = Metrics::new();
        metrics.events.touch();
        metrics.bytes.touch();
        metrics.lines_marked.touch();
        metrics.events_duplicate.touch();
        metrics.bodies_unread.touch();
        metrics.findings.touch();
        metrics.rules_loaded.touch();
        metrics.ruleset_info.touch();
        metrics.rules_reloads.touch();
        metrics.rules_stale.touch();
        metrics.correlation_groups.touch();
        metrics.source_lag_bytes.touch();
        metrics.source_headroom_seconds.touch();
        metrics.source_nul_bytes.touch();
        metrics.source_silent.touch();
        metrics.source_lag_records.touch();
        metrics.source_records_empty.touch();
        metrics.source_records_unnamed.touch();
        metrics.archive_stalled.touch();
        metrics.webhook_requests.touch();
        metrics.webhook_inflight_bytes.touch();
        metrics.webhook_tls_stale.touch();
        metrics.outbox_pending.touch();
        metrics.alerts_sent.touch();
        metrics.build_info.clear();
        metrics.build_info.touch();
        metrics.encode()
    }

    #[test]
    fn every_metric_is_scraped_under_the_name_and_labels_of_the_table() {
        let text = touched();
        for row in TABLE {
            let labels: Vec<String> = row.labels.iter().map(|it| format!("{it}=\"\"")).collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let sample = match row.kind {
                Kind::Histogram => format!("\n{}_count 0\n", row.name()),
                _ => format!("\n{}{labels} ", row.name()),
            };
            assert!(text.contains(&sample), "{sample} is not in\n{text}");
            assert!(!row.base.ends_with("_total"), "{}: the suffix is added", row.base);
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_documentation_lists_every_metric_and_no_other() {
        let doc = std::fs::read_to_string("docs/metrics.md").unwrap();
        let listed: BTreeSet<&str> = doc.lines().filter(|it| it.starts_with("| `")).collect();
        let table: BTreeSet<String> = TABLE.iter().map(doc_line).collect();
        assert_eq!(listed, table.iter().map(String::as_str).collect());
    }

    fn doc_line(row: &Row) -> String {
        let labels: Vec<String> = row.labels.iter().map(|it| format!("`{it}`")).collect();
        format!(
            "| `{}` | {} | {} | {} |",
            row.name(),
            row.kind.as_str(),
            labels.join(", "),
            row.help
        )
    }

    #[test]
    fn a_new_rule_set_takes_the_place_of_the_old_one() {
        let metrics = Metrics::new();
        metrics.set_ruleset("aa", 3);
        metrics.clone().set_ruleset("bb", 4);
        let text = metrics.encode();
        assert!(text.contains("kustos_ruleset_info{sha256=\"bb\"} 1"), "{text}");
        assert!(!text.contains("\"aa\""), "{text}");
        assert!(text.contains("kustos_rules_loaded 4"), "{text}");
    }

    #[test]
    fn a_stage_that_is_not_kubernetes_own_makes_no_new_series() {
        assert_eq!(stage("ResponseComplete"), "ResponseComplete");
        assert_eq!(stage("Invented-4711"), "other");
    }
}
