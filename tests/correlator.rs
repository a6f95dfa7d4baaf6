//! What the correlator remembers: over late events, restarts, other rules, and limits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/stream.rs"]
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;

use kustos::detect::{Correlator, Finding, Limits, Observation};
use kustos::rules::RuleSet;
use proptest::prelude::*;
use serde_json::{Value, json};

use stream::{Stream, counting, event, judged, with};

fn three_in_a_minute() -> Arc<RuleSet> {
    counting("event_count", "  timespan: 1m\n  condition: {gte: 3}\n")
}

#[test]
fn a_late_event_is_put_in_its_place_and_later_windows_are_judged_again() {
    let mut stream = Stream::new(&three_in_a_minute());
    assert!(stream.put(10, "get", "a").is_empty() && stream.put(65, "get", "a").is_empty());
    // It makes three of the window that ends at 65, and is the second of its own.
    let found = stream.of("c", &event(50, "get", "a"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].time.as_deref(), Some("1970-01-01T00:01:05.000000Z"));
    let shown: Vec<_> =
        found[0].events.iter().flatten().map(|it| it.time.clone().unwrap()).collect();
    assert_eq!(shown.len(), 3);
    assert!(shown.is_sorted());
    // The window at 65 has fired; one more event in it does not make it fire again.
    assert_eq!(stream.put(60, "get", "a"), [3.0]);
    assert_eq!(stream.correlator.counts().late, 0);
}

#[test]
fn an_event_beyond_the_bound_is_late_and_judged_in_its_own_window_alone() {
    let mut stream =
        Stream::new(&counting("event_count", "  timespan: 1h\n  condition: {gte: 3}\n"));
    assert!(stream.put(100, "get", "a").is_empty() && stream.put(200, "get", "a").is_empty());
    assert!(stream.put(139, "get", "a").is_empty(), "the window at 200 is not judged again");
    assert_eq!(stream.correlator.counts().late, 1);
    assert_eq!(stream.put(139, "get", "a"), [3.0], "its own window has three events");
    assert_eq!(stream.put(201, "get", "a"), [5.0]);
}

#[test]
fn events_without_a_time_count_as_of_the_newest_before_them() {
    let mut stream = Stream::new(&three_in_a_minute());
    let timeless = json!({"verb": "get", "user": {"username": "a"}});
    stream.put(1_000, "get", "a");
    assert!(stream.values(&timeless).is_empty());
    stream.advance(1_100);
    assert!(stream.values(&timeless).is_empty());
    assert!(stream.put(1_101, "get", "a").is_empty());
    let found = stream.of("c", &timeless);
    assert_eq!((found.len(), found[0].time.clone()), (1, None));
}

#[test]
fn a_value_is_new_once_until_it_is_forgotten() {
    let rules = counting("new_terms", "  timespan: 1h\n  condition: {field: agents}\n");
    let mut stream = Stream::new(&rules);
    let put = |stream: &mut Stream, second: i64, user: &str, agents: Value| {
        let mut event = event(second, "get", user);
        event["agents"] = agents;
        let found = stream.of("c", &event);
        let terms = found.iter().map(|it| {
            it.correlation.as_ref().unwrap().terms.as_ref().unwrap()["agents"]
                .as_str()
                .unwrap()
                .to_owned()
        });
        terms.collect::<Vec<String>>()
    };
    assert_eq!(put(&mut stream, 0, "a", json!("x")), ["x"]);
    assert_eq!(put(&mut stream, 1, "b", json!("x")), ["x"], "another group");
    assert!(put(&mut stream, 3_600, "a", json!("x")).is_empty());
    let mut both = put(&mut stream, 7_100, "a", json!(["x", "y", "z"]));
    both.sort_unstable();
    assert_eq!(both, ["y", "z"]);
    assert!(put(&mut stream, 7_101, "a", json!(null)).is_empty());
    stream.advance(20_000);
    assert_eq!(stream.correlator.counts().groups, 0);
    assert_eq!(put(&mut stream, 20_000, "a", json!("x")), ["x"]);
}

#[test]
fn what_is_new_learns_from_history_in_silence_and_once() {
    let rules = counting("new_terms", "  timespan: 30d\n  condition: {field: agent}\n");
    let of = |second: i64, agent: &str| {
        let mut event = event(second, "get", "a");
        event["agent"] = agent.into();
        event
    };
    let mut stream = Stream::new(&rules);
    assert_eq!(stream.correlator.learn(&[]), Some(30 * 86_400 * 1_000_000));
    stream.seed(&of(10, "old"));
    let learned = stream.correlator.learned();
    assert_eq!(learned, [rules.correlations()[0].hash.clone()]);
    assert_eq!(stream.correlator.learn(&learned), None);
    assert!(stream.values(&of(20, "old")).is_empty());
    assert_eq!(stream.values(&of(21, "new")).len(), 1);
}

#[test]
fn an_event_that_does_not_come_is_told_once() {
    let mut stream = Stream::new(&with(
        "title: Gone\ncorrelation:\n  type: absence\n  rules: read\n  timespan: 10m\n",
    ));
    let times = |found: Vec<Finding>| -> Vec<String> {
        found.into_iter().map(|it| it.time.unwrap()).collect()
    };
    assert!(stream.advance(1_000).is_empty());
    assert!(stream.advance(1_659).is_empty(), "a late event may still come");
    assert_eq!(times(stream.advance(1_660)), ["1970-01-01T00:26:40.000000Z"]);
    assert!(stream.advance(9_000).is_empty(), "it is told already");
    assert!(stream.put(9_000, "get", "a").is_empty() && stream.put(9_500, "get", "a").is_empty());
    assert!(stream.put(9_400, "get", "a").is_empty() && stream.advance(10_159).is_empty());
    let found = stream.advance(10_160);
    assert_eq!(
        found[0].events.as_ref().unwrap()[0].time.as_deref(),
        Some("1970-01-01T02:38:20.000000Z")
    );
    assert_eq!(times(found), ["1970-01-01T02:48:20.000000Z"]);
}

#[test]
fn groups_are_watched_from_their_first_sight_and_a_late_event_is_no_alarm() {
    let rules = counting("absence", "  timespan: 10m\n");
    let mut stream = Stream::new(&rules);
    assert!(stream.advance(5_000).is_empty());
    stream.put(5_000, "get", "a");
    stream.put(5_010, "get", "b");
    stream.put(5_640, "create", "b");
    assert!(stream.advance(5_640).is_empty());
    assert!(stream.put(5_600, "get", "a").is_empty(), "it was late, and in time");
    let told = stream.advance(5_700);
    let users: Vec<_> = told
        .iter()
        .map(|it| it.correlation.as_ref().unwrap().group["user.username"].clone())
        .collect();
    assert_eq!(users, ["b"]);
    assert!(stream.advance(6_000).is_empty());
    assert_eq!(stream.advance(6_300).len(), 1);
    assert_eq!(stream.correlator.counts().groups, 0);
    let ids: BTreeSet<&str> = told.iter().map(|it| &*it.id).collect();
    let mut again = Stream::new(&rules);
    again.put(5_010, "get", "b");
    assert!(
        again.advance(8_000).iter().all(|it| ids.contains(&*it.id)),
        "the id is of the last event"
    );
}

#[test]
fn what_no_window_needs_is_forgotten() {
    let mut stream = Stream::new(&three_in_a_minute());
    stream.put(0, "get", "a");
    stream.put(30, "get", "b");
    stream.advance(120);
    assert_eq!(stream.correlator.counts().groups, 2);
    stream.advance(121);
    assert_eq!(stream.correlator.counts().groups, 1);
    let changes = stream.correlator.changes();
    assert_eq!((changes.set.len(), changes.gone.len()), (1, 0), "the other was never recorded");
    stream.advance(200);
    let changes = stream.correlator.changes();
    assert_eq!((changes.set.len(), changes.gone.len()), (0, 1));
    assert_eq!(stream.correlator.counts().bytes, 0);
}

#[test]
fn over_the_limit_the_groups_that_were_quiet_longest_go_first() {
    let rules = counting("event_count", "  timespan: 1d\n  condition: {gte: 2}\n");
    let limits = Limits { bytes_max: 20_000, ..Limits::default() };
    let mut stream = Stream::limited(&rules, limits);
    for second in 0..100_i64 {
        // The order of times, not of arrival.
        let second = (second * 37) % 100;
        stream.put(second, "get", &format!("user-{second}"));
        assert!(stream.correlator.counts().bytes <= limits.bytes_max);
    }
    let counts = stream.correlator.counts();
    assert_eq!(counts.evicted, 100 - u64::try_from(counts.groups).unwrap());
    assert!(counts.groups > 10, "{counts:?}");
    let left = stream.correlator.changes().set;
    let oldest = left.iter().map(|it| it.last).min().unwrap();
    assert!(oldest >= (100 - i64::try_from(counts.groups).unwrap() - 30) * 1_000_000, "{oldest}");
    assert_eq!(stream.put(101, "get", "user-99"), [2.0]);
}

#[test]
fn over_its_limit_what_findings_show_goes_before_what_they_count() {
    let rules = counting("event_count", "  timespan: 1d\n  condition: {gte: 2}\n");
    let limits = Limits { detail_bytes_max: 5_000, details_max: 3, ..Limits::default() };
    let mut stream = Stream::limited(&rules, limits);
    for second in 0..50 {
        stream.put(second, "get", &format!("user-{second}"));
    }
    let counts = stream.correlator.counts();
    assert!(counts.undetailed > 0 && counts.groups == 50, "{counts:?}");
    let shown = |found: &[Finding]| found[0].events.as_ref().unwrap().len();
    assert_eq!(shown(&stream.of("c", &event(60, "get", "user-0"))), 1, "only the last");
    let found = stream.of("c", &event(61, "get", "user-49"));
    assert_eq!((shown(&found), found[0].correlation.as_ref().unwrap().count), (2, 2));
    for second in 62..70 {
        stream.of("c", &event(second, "get", "user-49"));
    }
    let found = stream.of("c", &event(70, "get", "user-49"));
    assert_eq!((shown(&found), found[0].correlation.as_ref().unwrap().count), (3, 11));
}

#[test]
fn a_group_remembers_so_many_events_and_no_more() {
    let limits = Limits { events_max: 5, values_max: 4, ..Limits::default() };
    let mut stream = Stream::limited(&three_in_a_minute(), limits);
    let last = (0..10).filter_map(|second| stream.put(second, "get", "a").pop()).last();
    assert_eq!((last, stream.correlator.counts().dropped), (Some(6.0), 5));
    let rules = counting("value_sum", "  timespan: 1m\n  condition: {field: size, gt: 0}\n");
    let mut stream = Stream::limited(&rules, limits);
    for second in 0..10 {
        let mut event = event(second, "get", "a");
        event["size"] = 1.into();
        stream.of("c", &event);
    }
    assert_eq!(stream.correlator.counts().dropped, 6);
}

#[test]
fn other_rules_keep_what_unchanged_correlations_remember() {
    let of = |level: &str, gte: usize| {
        counting(
            "event_count",
            &format!("  timespan: 1m\n  condition: {{gte: {gte}}}\nlevel: {level}\n"),
        )
    };
    let swap = |stream: &mut Stream, rules: Arc<RuleSet>| {
        stream.rules = Arc::clone(&rules);
        stream.correlator.swap(rules);
    };
    let mut stream = Stream::new(&of("low", 3));
    stream.put(1, "get", "a");
    stream.put(2, "get", "a");
    stream.correlator.changes();
    let old = judged(&stream.rules, "c", &event(4, "get", "a").to_string()).observations;
    swap(&mut stream, of("high", 3));
    assert_eq!(stream.put(3, "get", "a"), [3.0]);
    swap(&mut stream, of("high", 2));
    let changes = stream.correlator.changes();
    assert_eq!((changes.set.len(), changes.gone.len()), (0, 1));
    let mut out = Vec::new();
    old.into_iter().for_each(|it| stream.correlator.observe(it, &mut out));
    assert_eq!((out.len(), stream.correlator.counts().dropped), (0, 1));
    assert!(stream.put(4, "get", "a").is_empty(), "it has another condition, and starts anew");
    assert!(!stream.correlator.restore(&changes.gone[0].0, &changes.gone[0].1, &[1, 0, 0, 0]));
}

/// A correlation of every type, some in chains, over events that fit them.
fn every_type() -> Arc<RuleSet> {
    let block = |id: &str, kind: &str, rest: &str| {
        format!(
            "title: {id}\nid: {id}\ncorrelation:\n  type: {kind}\n  group-by: user.username\n  timespan: 20s\n{rest}"
        )
    };
    let read = "  rules: read\n";
    let both = "  rules: [read, exec]\n";
    with(
        &[
            block("e", "event_count", &format!("{both}  condition: {{gte: 3}}\ngenerate: true\n")),
            block("v", "value_count", &format!("{read}  condition: {{field: size, gte: 2}}\n")),
            block("t", "temporal", both),
            block("o", "temporal_ordered", both),
            block("n", "temporal", "  condition: read and not exec\n"),
            block(
                "s",
                "value_sum",
                &format!(
                    "{read}  window: session\n  gap: 5s\n  condition: {{field: size, gte: 3}}\n"
                ),
            ),
            block(
                "m",
                "value_median",
                &format!("{read}  window: tumbling\n  condition: {{field: size, gte: 1.5}}\n"),
            ),
            block("w", "new_terms", &format!("{both}  condition: {{field: size}}\n")),
            block("a", "absence", read),
            block("z", "event_count", "  rules: [e, w]\n  condition: {gte: 2}\ngenerate: true\n"),
        ]
        .join("---\n"),
    )
}

fn events() -> impl Strategy<Value = Vec<Value>> {
    let one = (0..4_i64, -6..1_i64, 0..2_usize, 0..2_usize, 0..3_u8);
    prop::collection::vec(one, 1..40).prop_map(|steps| {
        let mut now = 1_000;
        let event = |(step, late, verb, user, size): (i64, i64, usize, usize, u8)| {
            now += step;
            let mut event = event(now + late, ["get", "create"][verb], ["a", "b"][user]);
            event["size"] = size.into();
            event
        };
        steps.into_iter().map(event).collect()
    })
}

fn observations(rules: &RuleSet, events: &[Value]) -> Vec<Vec<Observation>> {
    events.iter().map(|it| judged(rules, "c", &it.to_string()).observations).collect()
}

/// A small bound, so that some events are later.
const LIMITS: fn() -> Limits = || Limits { lateness: 4_000_000, ..Limits::default() };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_restart_at_any_point_changes_no_finding(events in events(), every in 1..5_usize) {
        let rules = every_type();
        let mut one = Correlator::new(Arc::clone(&rules), LIMITS());
        let mut other = Correlator::new(Arc::clone(&rules), LIMITS());
        let mut rows = std::collections::BTreeMap::new();
        for (step, observed) in observations(&rules, &events).into_iter().enumerate() {
            let (mut want, mut got) = (Vec::new(), Vec::new());
            for observation in observed {
                one.observe(observation.clone(), &mut want);
                other.observe(observation, &mut got);
            }
            let now = 1_000_000_000 + i64::try_from(step).unwrap() * 1_500_000;
            one.advance("c", now, &mut want);
            other.advance("c", now, &mut got);
            prop_assert_eq!(&got, &want, "at {}", step);
            let changes = other.changes();
            for it in changes.gone {
                prop_assert!(rows.remove(&it).is_some(), "a row that was never recorded is gone");
            }
            rows.extend(changes.set.into_iter().map(|it| ((it.correlation, it.key), it.state)));
            if step % every == 0 {
                other = Correlator::new(Arc::clone(&rules), LIMITS());
                for ((correlation, key), state) in &rows {
                    prop_assert!(other.restore(correlation, key, state));
                }
                let mut none = Vec::new();
                other.advance("c", now, &mut none);
                prop_assert!(none.is_empty());
            }
        }
        let (one, other) = (one.counts(), other.counts());
        prop_assert_eq!(one.groups, other.groups);
    }

    #[test]
    fn the_order_within_the_bound_changes_no_group_that_fires(
        events in prop::collection::vec((0..200_i64, 0..3_usize), 1..40),
        shuffle in prop::collection::vec(0..30_i64, 40),
    ) {
        let rules = three_in_a_minute();
        // No event comes more than 30 seconds after a newer one.
        let mut order: Vec<(i64, (i64, usize))> =
            events.iter().zip(&shuffle).map(|(it, late)| (it.0 + late, *it)).collect();
        order.sort_by_key(|(at, _)| *at);
        let mut sorted = events.clone();
        sorted.sort_by_key(|it| it.0);
        let fired = |events: &[(i64, usize)]| {
            let mut stream = Stream::new(&rules);
            let found = events.iter().flat_map(|(second, user)| stream.of("c", &event(*second, "get", ["a", "b", "c"][*user])));
            found.map(|it| it.correlation.unwrap().group["user.username"].clone().to_string()).collect::<BTreeSet<String>>()
        };
        let shuffled: Vec<(i64, usize)> = order.into_iter().map(|(_, it)| it).collect();
        prop_assert_eq!(fired(&shuffled), fired(&sorted));
    }
}
