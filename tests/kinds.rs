//! One suite over every kind of sink, against a real HTTP server on this machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kustos::archive::catalog::Catalog;
use kustos::archive::outbox::Counts;
use kustos::archive::outbox::FindingRow;
use kustos::clock::{Clock, SystemClock};
use kustos::config::Settings;
use kustos::metrics::Metrics;
use kustos::sink::outbox::{self, Outbox};
use kustos::sink::{Backoff, DeliverError, KINDS, Message, Named, build};
use serde_json::{Value, json};

/// Long enough for a slow machine; a test that waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_example_is_a_whole_valid_block() {
    for kind in KINDS {
        let settings: Settings = yaml_serde::from_str(kind.example).unwrap();
        assert_eq!(settings.kind, kind.name);
        let built = build(std::slice::from_ref(&settings)).unwrap();
        assert_eq!(built.first().unwrap().name, settings.name());
        assert!((kind.schema)()["properties"].is_object(), "{}", kind.name);
        let shown = yaml_serde::to_string(&settings.masked()).unwrap();
        assert_eq!(yaml_serde::from_str::<Settings>(&shown).unwrap().kind, kind.name);
    }
}

#[test]
fn a_sink_that_cannot_be_built_is_named() {
    for (yaml, want) in [
        ("{kind: webhok, name: a}", "unknown kind \"webhok\"; did you mean \"webhook\"?"),
        ("{kind: stdout, name: a, min_level: hihg}", "min_level: unknown level \"hihg\""),
        (
            "{kind: stdout, name: a, fromat: human}",
            "unknown key \"fromat\"; did you mean \"format\"?",
        ),
    ] {
        let settings: Settings = yaml_serde::from_str(yaml).unwrap();
        let error = build(&[settings]).err().unwrap();
        assert_eq!(error.to_string(), "sinks[0] \"a\"");
        assert!(error.why.to_string().starts_with(want), "{}", error.why);
    }
}

#[tokio::test]
async fn a_message_is_posted_with_its_id_and_as_the_schema_says() {
    let server = Server::start(vec![]);
    server.sink("").sink.deliver(&[message("f1.hook")]).await.unwrap();
    let request = server.next();
    assert_eq!(request.header("idempotency-key"), Some("f1.hook"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let payload: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(payload["id"], "f1.hook");
    assert_eq!(payload["alert"], serde_json::from_str::<Value>(&body("f1")).unwrap());
    let schema = std::fs::read_to_string("schemas/alert.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    fits(&schema, &schema, &payload).unwrap();
    let mut wrong = payload.clone();
    wrong["alert"]["rule"]["level"] = json!("dire");
    assert!(fits(&schema, &schema, &wrong).is_err());
}

#[tokio::test]
async fn an_answer_decides_what_happens_next() {
    for (reply, want) in [
        (status(204, ""), Want::Sent),
        (status(429, "Retry-After: 7\r\n"), Want::Retry(Some(7))),
        (status(503, "Retry-After: Mon, 23 Nov 2020 02:39:13 GMT\r\n"), Want::Retry(Some(0))),
        (status(500, ""), Want::Retry(None)),
        (status(408, ""), Want::Retry(None)),
        (status(425, ""), Want::Retry(None)),
        (status(400, ""), Want::Rejected),
        (status(404, ""), Want::Rejected),
        (Reply::Hang, Want::Retry(None)),
        (Reply::Reset, Want::Retry(None)),
        (Reply::Close, Want::Retry(None)),
    ] {
        let server = Server::start(vec![reply.clone()]);
        // Short only where the end is awaited: a busy machine answers late.
        let timeout = if matches!(reply, Reply::Hang) { "timeout: 200ms" } else { "timeout: 10s" };
        let end = server.sink(timeout).sink.deliver(&[message("f1.hook")]).await;
        let got = match end {
            Ok(()) => Want::Sent,
            Err(DeliverError::Retry { after, .. }) => Want::Retry(after.map(|it| it.as_secs())),
            Err(DeliverError::Rejected { .. }) => Want::Rejected,
        };
        assert_eq!(got, want, "{reply:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(vec![]);
    let location = format!("Location: http://{}/\r\n", elsewhere.address);
    for code in [301, 302, 307, 308] {
        let server = Server::start(vec![status(code, &location)]);
        let end = server.sink("").sink.deliver(&[message("f1.hook")]).await;
        assert!(matches!(end, Err(DeliverError::Rejected { .. })), "{code}: {end:?}");
    }
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_tried_again_and_its_url_is_not_told() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let yaml = format!("{{kind: webhook, url: 'http://{address}/secret-path'}}");
    let end = sink(&yaml).sink.deliver(&[message("f1.hook")]).await;
    let Err(DeliverError::Retry { why, .. }) = end else { panic!("{end:?}") };
    assert!(!why.contains("secret-path"), "{why}");
}

#[tokio::test]
async fn secrets_are_read_when_they_are_used() {
    let server = Server::start(vec![]);
    let dir = tempfile::tempdir().unwrap();
    let (url, token) = (dir.path().join("url"), dir.path().join("token"));
    let yaml = format!(
        "{{kind: webhook, url_file: '{}', token_file: '{}'}}",
        url.display(),
        token.display()
    );
    let hook = sink(&yaml);
    let end = hook.sink.deliver(&[message("f1.hook")]).await;
    assert!(matches!(end, Err(DeliverError::Retry { .. })), "{end:?}");
    let address = format!("http://{}/x\n", server.address);
    kustos::durable::write(&url, address.as_bytes()).unwrap();
    for word in ["first", "second"] {
        kustos::durable::write(&token, word.as_bytes()).unwrap();
        hook.sink.deliver(&[message("f1.hook")]).await.unwrap();
        let bearer = format!("Bearer {word}");
        assert_eq!(server.next().header("authorization"), Some(bearer.as_str()));
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_rejected_and_not_posted() {
    let server = Server::start(vec![]);
    let broken = Message { id: "f.hook".into(), finding: "f".into(), body: "{".into() };
    let end = server.sink("").sink.deliver(&[broken]).await;
    assert!(matches!(end, Err(DeliverError::Rejected { .. })), "{end:?}");
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_the_same_id_and_ends_when_the_destination_takes_it() {
    let server =
        Server::start(vec![status(500, ""), Reply::Reset, status(429, ""), status(200, "")]);
    let archive = Archive::new(&["f1"], &["hook"]);
    let (outbox, metrics) = archive.start(vec![server.sink("")]);
    for _ in 0..4 {
        assert_eq!(server.next().header("idempotency-key"), Some("f1.hook"));
    }
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts(), Counts { pending: 0, sent: 1, dead: 0 });
    let text = metrics.encode();
    assert!(text.contains("alerts_sent_total{sink=\"hook\",outcome=\"retry\"} 3"), "{text}");
    assert!(text.contains("alerts_sent_total{sink=\"hook\",outcome=\"sent\"} 1"), "{text}");
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_a_dead_letter_and_the_others_go_on() {
    let server = Server::start(vec![status(400, "")]);
    let archive = Archive::new(&["f1", "f2", "f3"], &["hook"]);
    let (outbox, metrics) = archive.start(vec![server.sink("")]);
    let ids: BTreeSet<String> = (0..3).map(|_| server.next().id()).collect();
    assert_eq!(ids.len(), 3);
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts(), Counts { pending: 0, sent: 2, dead: 1 });
    assert!(metrics.encode().contains("alerts_sent_total{sink=\"hook\",outcome=\"dead\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_too_long_is_a_dead_letter() {
    let server = Server::start(vec![status(500, ""); 3]);
    let archive = Archive::new(&["f1"], &["hook"]);
    let backoff = Backoff { attempts_max: 3, ..QUICK };
    let outbox = archive.start_with(vec![server.sink("")], backoff).0;
    (0..3).for_each(|_| drop(server.next()));
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts(), Counts { pending: 0, sent: 0, dead: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_sends_the_rest_and_only_the_rest() {
    let names: Vec<String> = (0..20).map(|it| format!("f{it:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let archive = Archive::new(&names, &["hook"]);
    let mut replies = vec![status(200, ""); 5];
    replies.extend(vec![status(503, "Retry-After: 3600\r\n"); 100]);
    let first = Server::start(replies);
    let outbox = archive.start(vec![first.sink("")]).0;
    let taken: BTreeSet<String> = (0..5).map(|_| first.next().id()).collect();
    // The sixth is told to come again: the five before it are under way or settled.
    drop(first.next());
    outbox.stop(PATIENCE).await;
    let Counts { pending, sent, dead } = archive.counts();
    assert_eq!((sent, dead, pending), (5, 0, 15));
    archive.make_due();

    let second = Server::start(vec![]);
    let outbox = archive.start(vec![second.sink("")]).0;
    let rest: BTreeSet<String> = (0..15).map(|_| second.next().id()).collect();
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts(), Counts { pending: 0, sent: 20, dead: 0 });
    assert!(taken.is_disjoint(&rest));
    assert_eq!(taken.len() + rest.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_answer_is_sent_again_after_a_restart_under_its_id() {
    let archive = Archive::new(&["f1"], &["hook"]);
    let first = Server::start(vec![Reply::Hang]);
    let outbox = archive.start(vec![first.sink("timeout: 50s")]).0;
    assert_eq!(first.next().id(), "f1.hook");
    // The destination has the message, and nobody noted it: as after a crash.
    assert!(!outbox.stop(Duration::ZERO).await);
    assert_eq!(archive.counts().pending, 1);
    let second = Server::start(vec![]);
    let outbox = archive.start(vec![second.sink("")]).0;
    assert_eq!(second.next().id(), "f1.hook");
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts(), Counts { pending: 0, sent: 1, dead: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_is_dropped_ends_its_loops() {
    let server = Server::start(vec![]);
    let archive = Archive::new(&[], &[]);
    let hook = server.sink("");
    let used = Arc::downgrade(&hook.sink);
    drop(archive.start(vec![hook]));
    let ended = async {
        while used.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_holds_up_no_other_and_a_bell_is_heard_at_once() {
    let (stuck, well) = (Server::start(vec![Reply::Hang; 50]), Server::start(vec![]));
    let archive = Archive::new(&["f1"], &["stuck", "well"]);
    let sinks = vec![stuck.named("stuck", "timeout: 5s"), well.named("well", "")];
    let outbox = archive.start(sinks).0;
    drop(stuck.next());
    assert_eq!(well.next().id(), "f1.well");
    let clock = SystemClock;
    let mut fastest = Duration::MAX;
    for name in ["f2", "f3", "f4"] {
        let from = clock.elapsed();
        archive.add(&[name], &["stuck", "well"]);
        outbox.bell().ring();
        assert_eq!(well.next().id(), format!("{name}.well"));
        fastest = fastest.min(clock.elapsed() - from);
    }
    // Far below the second after which the outbox is looked at anyway.
    assert!(fastest < Duration::from_millis(400), "{fastest:?}");
    // Stopping does not wait for the one that hangs longer than it is told to.
    assert!(!outbox.stop(Duration::from_millis(100)).await);
    assert_eq!(archive.counts().sent, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_asks_for_a_rest_gets_it_from_every_message() {
    let asked = status(429, "Retry-After: 1\r\n");
    let server = Server::start(vec![status(200, ""), asked.clone(), asked.clone(), asked]);
    let archive = Archive::new(&["f1", "f2", "f3", "f4", "f5", "f6"], &["hook"]);
    let outbox = archive.start(vec![server.sink("")]).0;
    (0..4).for_each(|_| drop(server.next()));
    let from = SystemClock.elapsed();
    drop(server.next());
    let rest = SystemClock.elapsed() - from;
    assert!(rest > Duration::from_millis(800), "{rest:?}");
    (0..4).for_each(|_| drop(server.next()));
    assert!(outbox.stop(PATIENCE).await);
    assert_eq!(archive.counts().sent, 6);
}

/// Retries quick enough for a test.
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(5),
    wait_max: Duration::from_millis(20),
    attempts_max: 1_000,
};

#[derive(Debug, PartialEq)]
enum Want {
    Sent,
    Retry(Option<u64>),
    Rejected,
}

fn body(finding: &str) -> String {
    format!(
        r#"{{"id":"{finding}","rule":{{"id":"r1","title":"Exec into a pod","level":"high","dialect":"sigma","tags":[]}},"time":"2026-11-23T03:39:13.554321Z","cluster":"c","event":{{"auditID":"a","stage":"ResponseComplete","verb":"create","user":"alice","sourceIPs":["10.0.0.1"],"objectRef":{{"resource":"pods","namespace":"n","name":"p","subresource":"exec"}},"requestURI":"/x","code":101,"decision":"allow"}},"source":{{"name":"audit.log","position":17}}}}"#
    )
}

fn message(id: &str) -> Message {
    let finding = id.split('.').next().unwrap();
    Message { id: id.to_owned(), finding: finding.to_owned(), body: body(finding) }
}

fn sink(yaml: &str) -> Named {
    let settings: Settings = yaml_serde::from_str(yaml).unwrap();
    build(&[settings]).unwrap().remove(0)
}

/// An archive's catalog with findings to send.
struct Archive(tempfile::TempDir);

impl Archive {
    fn new(findings: &[&str], sinks: &[&str]) -> Archive {
        let dir = tempfile::tempdir().unwrap();
        drop(Catalog::create(dir.path()).unwrap());
        let archive = Archive(dir);
        archive.add(findings, sinks);
        archive
    }

    fn add(&self, findings: &[&str], sinks: &[&str]) {
        let row = |id: &&str| FindingRow {
            id: (*id).to_owned(),
            rule: "r1".to_owned(),
            title: "Exec into a pod".to_owned(),
            level: "high".to_owned(),
            cluster: "c".to_owned(),
            time: None,
            body: body(id),
            sinks: sinks.iter().map(|it| (*it).to_owned()).collect(),
        };
        let rows: Vec<FindingRow> = findings.iter().map(row).collect();
        self.catalog().add_findings(&rows, SystemClock.now()).unwrap();
    }

    fn catalog(&self) -> Catalog {
        Catalog::open(self.0.path()).unwrap()
    }

    fn counts(&self) -> Counts {
        self.catalog().outbox_counts().unwrap()
    }

    /// As if all the time that was asked for had passed.
    fn make_due(&self) {
        let path = self.0.path().join("catalog.sqlite");
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.execute("UPDATE outbox SET due = 0 WHERE state = 'pending'", []).unwrap();
    }

    fn start(&self, sinks: Vec<Named>) -> (Outbox, Metrics) {
        self.start_with(sinks, QUICK)
    }

    fn start_with(&self, sinks: Vec<Named>, backoff: Backoff) -> (Outbox, Metrics) {
        let metrics = Metrics::new();
        let start = outbox::Start {
            dir: self.0.path().to_owned(),
            sinks,
            metrics: metrics.clone(),
            clock: Arc::new(SystemClock),
            backoff,
        };
        (outbox::start(start).unwrap(), metrics)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Reply {
    /// A whole answer.
    Status { code: u16, headers: String },
    /// No answer, as long as the client waits.
    Hang,
    /// An answer that breaks off within its body.
    Reset,
    /// The connection ends without an answer.
    Close,
}

fn status(code: u16, headers: &str) -> Reply {
    Reply::Status { code, headers: headers.to_owned() }
}

struct Request {
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn id(&self) -> String {
        self.header("idempotency-key").unwrap().to_owned()
    }
}

/// An HTTP server that answers as it was told, in the order of the requests, then 200.
struct Server {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Server {
    fn start(replies: Vec<Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, requests) = sync_channel(1_000);
        let replies = Arc::new(Mutex::new(replies.into_iter()));
        let serve = move || {
            for stream in listener.incoming() {
                let (send, replies) = (send.clone(), Arc::clone(&replies));
                spawn(move || answer(stream.unwrap(), &send, &replies));
            }
        };
        spawn(serve);
        Server { address, requests }
    }

    fn sink(&self, more: &str) -> Named {
        self.named("hook", more)
    }

    fn named(&self, name: &str, more: &str) -> Named {
        sink(&format!(
            "{{kind: webhook, name: {name}, url: 'http://{}/path', {more}}}",
            self.address
        ))
    }

    fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    drop(std::thread::Builder::new().spawn(work).unwrap());
}

fn answer(
    mut stream: TcpStream,
    send: &SyncSender<Request>,
    replies: &Mutex<std::vec::IntoIter<Reply>>,
) {
    let Some(request) = read(&stream) else { return };
    // The reply is chosen before the request is told, so that their orders are one.
    let reply = {
        let mut replies = replies.lock().unwrap();
        let reply = replies.next().unwrap_or_else(|| status(200, ""));
        if send.send(request).is_err() {
            return;
        }
        reply
    };
    let text = match reply {
        Reply::Status { code, headers } => {
            format!(
                "HTTP/1.1 {code} X\r\n{headers}Connection: close\r\nContent-Length: 2\r\n\r\nok"
            )
        }
        Reply::Reset => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this".to_owned(),
        Reply::Hang => {
            // Reads until the client gives up.
            drop(stream.read(&mut [0; 1]));
            return;
        }
        Reply::Close => return,
    };
    // The client may be gone: the next request tells.
    drop(stream.write_all(text.as_bytes()));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(it, _)| it == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { headers, body: String::from_utf8(body).ok()? })
}

/// Whether a value has the structure that a JSON Schema says: the keywords our schemas use.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{why}: {value} against {schema}"));
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        return fits(root, root.pointer(place.trim_start_matches('#')).unwrap(), value);
    }
    if schema.get("const").is_some_and(|it| it != value) {
        return wrong("not the constant");
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|it| !it.contains(value)) {
        return wrong("none of the values");
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !types.is_empty() && !types.contains(&type_of(value)) {
        return wrong("another type");
    }
    for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            return wrong("a field is missing");
        }
    }
    for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.get(key) {
            fits(root, schema, value)?;
        }
    }
    let items = schema.get("items").zip(value.as_array());
    items.map_or(Ok(()), |(schema, all)| all.iter().try_for_each(|it| fits(root, schema, it)))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(it) if it.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
