//! The audit webhook through the real program, posted to as API servers do.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop"
)]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod faults;
mod site;
mod tls;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, genuine};
use common::daemon::until;
use common::{Lines, count, marked, shared};
use flate2::Compression;
use flate2::write::GzEncoder;
use site::Site;

/// Every request is answered within.
pub(crate) const ANSWERED: Duration = Duration::from_secs(5);

/// A body with that many events, none of which occurs in a body of another number.
pub(crate) fn batch(number: usize, events: usize) -> Vec<u8> {
    let event = |it: usize| {
        format!(
            "{{\"level\":\"Metadata\",\"auditID\":\"{number:08x}-0000-4000-8000-{it:012x}\",\"stage\":\"ResponseComplete\",\"requestURI\":\"/api/v1/pods\",\
             \"verb\":\"list\",\"user\":{{\"username\":\"system:serviceaccount:a:b\"}},\"sourceIPs\":[\"10.0.0.1\"],\
             \"responseStatus\":{{\"metadata\":{{}},\"code\":200}},\"requestReceivedTimestamp\":\"2026-11-23T03:00:00.000000Z\",\
             \"stageTimestamp\":\"2026-11-23T03:00:00.{:06}Z\"}}",
            number % 1_000_000
        )
    };
    let items: Vec<String> = (0..events).map(event).collect();
    let items = items.join(",");
    format!("{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\"items\":[{items}]}}\n")
        .into_bytes()
}

/// The rows that a body becomes: its events, byte for byte. What they came in is a row as well, which
/// [`Site::stored`] leaves out.
pub(crate) fn rows(body: &[u8]) -> Vec<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct List<'b> {
        #[serde(borrow)]
        items: Vec<&'b serde_json::value::RawValue>,
    }
    match serde_json::from_slice::<List<'_>>(body) {
        Ok(list) => list.items.iter().map(|it| it.get().as_bytes().to_vec()).collect(),
        Err(_) => vec![body.strip_suffix(b"\n").unwrap_or(body).to_vec()],
    }
}

/// The rows of those bodies, each once.
pub(crate) fn once<'b>(bodies: impl IntoIterator<Item = &'b Vec<u8>>) -> Lines {
    let mut lines = Lines::new();
    bodies.into_iter().for_each(|it| rows(it).iter().for_each(|row| count(&mut lines, row)));
    lines
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn genuine_requests_are_kept_as_they_came() {
    let Some(corpus) = shared("corpus/webhook") else { return };
    let runs = ["B-mixed", "T-truncate", "W-blocking-webhook"];
    let clusters = ["b", "t", "w"].map(|it| (it, ""));
    let site = Site::with(&clusters, "part_age_max: 50ms");
    let daemon = site.start();
    for ((cluster, _), run) in clusters.iter().zip(runs) {
        let bodies = genuine(&corpus.join(run));
        let mut connection = Client::plain(site.address).connect().unwrap();
        for (head, body) in &bodies {
            let (line, headers) =
                head.split_once("\r\n").or_else(|| head.split_once('\n')).unwrap();
            assert!(line.starts_with("POST /") && line.contains("?timeout=30s "), "{line}");
            let line = format!("POST /audit/{cluster}?timeout=30s");
            let wanted = |it: &&str| {
                let it = it.to_ascii_lowercase();
                ["content-", "accept"].iter().any(|start| it.starts_with(start))
            };
            let headers: String =
                headers.lines().filter(wanted).map(|it| format!("{}\r\n", it.trim_end())).collect();
            let answer = connection.send(&line, &headers, body).unwrap();
            assert_eq!(answer.code, 200, "{}", answer.text);
            assert!(answer.took < ANSWERED, "{:?}", answer.took);
        }
        let found = site.stored_of(Some(cluster));
        // Genuine clients send a batch again when an answer was late: one copy is kept.
        let expected: Lines =
            once(bodies.iter().map(|it| &it.1)).into_keys().map(|it| (it, 1)).collect();
        assert!(found == expected, "{run}: {} rows of {}", found.len(), expected.len());
    }
    let code = "kustos_webhook_requests_total{source=\"webhook-b\",code=\"200\"}";
    assert_eq!(daemon.metric(code).as_deref(), Some("40"));
    daemon.end();
}

#[test]
fn what_cannot_be_taken_is_told_why() {
    let site = Site::new("body_bytes_max: 64KiB, inflight_bytes_max: 1MiB");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let json = "Content-Type: application/json\r\n";
    let sized = |more: &str, body: &[u8]| format!("{json}{more}Content-Length: {}\r\n", body.len());
    let code = |line: &str, headers: &str, body: &[u8]| {
        let answer = client.send(line, headers, body).unwrap();
        assert!(answer.took < ANSWERED && !answer.text.is_empty(), "{answer:?}");
        answer.code
    };
    assert_eq!(code("POST /audit/d", &sized("", b"{}"), b"{}"), 404);
    assert_eq!(code("GET /audit/c", "", b""), 405);
    assert_eq!(
        code("POST /audit/c", "Content-Type: text/plain\r\nContent-Length: 2\r\n", b"{}"),
        415
    );
    assert_eq!(code("POST /audit/c", &sized("Content-Encoding: br\r\n", b"{}"), b"{}"), 415);
    assert_eq!(code("POST /audit/c", &sized("", b" \n"), b" \n"), 400);
    assert_eq!(code("POST /audit/c", &sized("Content-Encoding: gzip\r\n", b"{}"), b"{}"), 400);
    let large = vec![b' '; 65 << 10];
    assert_eq!(code("POST /audit/c", &sized("", &large), &large), 413);
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    let mut pieces = format!("{:x}\r\n", large.len()).into_bytes();
    pieces.extend([&large[..], b"\r\n0\r\n\r\n"].concat());
    assert_eq!(code("POST /audit/c", &chunked, &pieces), 413);
    let bomb = gzip(&vec![b' '; 10 << 20]);
    assert!(bomb.len() < 64 << 10);
    assert_eq!(code("POST /audit/c", &sized("Content-Encoding: gzip\r\n", &bomb), &bomb), 413);
    assert_eq!(code("POST /audit/c", "Content-Length: 2\r\n", b"{}"), 200);
    daemon.end();
    assert_eq!(site.stored(), once([&b"{}".to_vec()]));
}

#[test]
fn bodies_larger_than_all_that_may_be_under_way_are_kept_one_at_a_time() {
    let site = Site::new("inflight_bytes_max: 1MiB");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let bodies: Vec<Vec<u8>> = (0..4).map(|it| batch(it, 5_000)).collect();
    assert!(bodies.iter().all(|it| it.len() > 1 << 20));
    let put_off = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for body in &bodies {
            scope.spawn(|| {
                until(|| {
                    let answer = client.post("/audit/c", body).unwrap();
                    assert!(matches!(answer.code, 200 | 429), "{answer:?}");
                    put_off.fetch_add(usize::from(answer.code == 429), Ordering::SeqCst);
                    (answer.code == 200).then_some(())
                });
            });
        }
    });
    assert!(put_off.into_inner() > 0, "they did not meet");
    daemon.end();
    assert!(site.stored() == once(bodies.iter()));
}

#[test]
fn what_is_no_event_list_is_kept_and_marked() {
    let site = Site::new("");
    let daemon = site.start();
    let bodies = [&b"no json\nat all"[..], b"[1,2]", b"{\"cut\":", b"\xff\x00"].map(<[u8]>::to_vec);
    for body in &bodies {
        // An API server would only send it again, and drop it in the end.
        assert_eq!(Client::plain(site.address).post("/audit/c", body).unwrap().code, 200);
    }
    daemon.end();
    assert_eq!(site.stored(), once(&bodies));
    assert_eq!(marked(site.archive(), "c").values().sum::<u64>(), 4);
}

#[test]
fn a_compressed_body_and_one_in_pieces_are_kept_as_they_were_before() {
    let site = Site::new("");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let (first, second) = (batch(1, 400), batch(2, 3));
    let packed = gzip(&first);
    let headers = format!(
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n",
        packed.len()
    );
    assert_eq!(client.send("POST /audit/c", &headers, &packed).unwrap().code, 200);
    let mut pieces = Vec::new();
    for piece in second.chunks(100) {
        pieces.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        pieces.extend([piece, b"\r\n"].concat());
    }
    pieces.extend(b"0\r\n\r\n");
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(client.send("POST /audit/c", headers, &pieces).unwrap().code, 200);
    daemon.end();
    assert_eq!(site.stored(), once([&first, &second]));
}

#[test]
fn a_body_that_is_sent_again_while_it_is_under_way_is_one_copy() {
    let site = Site::with(&[("c", "")], "part_age_max: 1s");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let body = batch(1, 400);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(client.post("/audit/c", &body).unwrap().code, 200));
        }
    });
    daemon.end();
    assert_eq!(site.stored(), once([&body]));
}

#[test]
fn slow_clients_hold_up_nobody_and_are_ended() {
    let site = Site::new("");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let half = b"POST /audit/c HTTP/1.1\r\nHost: kustos\r\nContent-Length: 100\r\n\r\n{\"half\":";
    let since = Instant::now();
    let started = |bytes: &[u8]| {
        let mut connection = client.connect().unwrap();
        connection.write(bytes).unwrap();
        connection
    };
    let (mut body, mut head) = (started(half), started(b"POST /audit/c HTTP/1.1\r\nHost:"));
    drop(started(half));
    let fast = batch(1, 1);
    assert_eq!(client.post("/audit/c", &fast).unwrap().code, 200);
    assert!(since.elapsed() < ANSWERED);
    // An API server gives up after 30 s.
    let answer = body.answer(since).unwrap();
    assert_eq!(answer.code, 408);
    assert!(answer.took < client::GIVES_UP, "{answer:?}");
    assert!(head.answer(since).is_err());
    daemon.end();
    assert_eq!(site.stored(), once([&fast]));
}

#[test]
fn one_connection_too_many_is_closed_and_room_is_given_back() {
    let site = Site::new("connections_max: 2");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let refused = "kustos_webhook_connections_refused_total";
    // The connection that saw the port open may not be gone yet.
    let mut held = Vec::new();
    until(|| {
        let mut connection = client.connect().unwrap();
        if connection.post("/audit/c", &batch(held.len(), 1)).is_ok_and(|it| it.code == 200) {
            held.push(connection);
        }
        (held.len() == 2).then_some(())
    });
    assert!(client.post("/audit/c", &batch(8, 1)).is_err());
    assert!(daemon.metric(refused).unwrap().parse::<u64>().unwrap() >= 1);
    held.clear();
    until(|| client.post("/audit/c", &batch(9, 1)).ok().filter(|it| it.code == 200));
    daemon.end();
}

#[test]
fn what_is_under_way_at_the_stop_is_committed_and_answered() {
    let site = Site::with(&[("c", "")], "part_age_max: 2s");
    let daemon = site.start();
    let client = Client::plain(site.address);
    let bodies: Vec<Vec<u8>> = (0..10).map(|it| batch(it, 400)).collect();
    std::thread::scope(|scope| {
        for body in &bodies {
            let client = &client;
            scope.spawn(move || assert_eq!(client.post("/audit/c", body).unwrap().code, 200));
        }
        let inflight = "kustos_webhook_inflight_bytes{source=\"webhook-c\"}";
        let all: usize = bodies.iter().map(Vec::len).sum();
        until(|| daemon.metric(inflight).filter(|it| it.parse::<usize>().unwrap() == all));
        daemon.end();
    });
    assert_eq!(site.stored(), once(&bodies));
}
