//! `kustos run` beside an API server whose log grows at 5 MB/s: memory, CPU, and the time from the
//! `write()` of an event to its alert at a webhook on this machine.
//!
//! `SPAN=SECONDS cargo bench --bench sidecar` writes for another time than four minutes, in which a
//! segment is sealed, and `RATE=BYTES` at another rate. The log is the genuine sample again and again, each event with an audit ID and times of
//! its own and in a `write()` of its own, without the events that the shipped rules match; it rotates
//! as an API server's does. Between them stand sessions in pods, which have to alert, at moments that
//! are not even. A session that does not, or an event that is not kept once, ends the bench with an error.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on should stop, and its clock and files are real ones"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use kustos::archive::catalog::{Catalog, Scope};
use kustos::decode;
use kustos::event;
use kustos::rules::Scratch;

/// Bytes a second, and how many seconds of them, unless the environment says otherwise.
const RATE: u64 = 5_000_000;
const SPAN: u64 = 240;

/// Sessions a second, on average.
const SESSIONS: u64 = 20;

/// At which size the log is rotated: the API server's default.
const ROTATION_BYTES: u64 = 100 << 20;

/// How long an alert or the end of a process may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether bytes are due: an API server writes when requests end.
const TICK: Duration = Duration::from_millis(1);

/// Ticks of a second in `/proc/PID/stat`: the same on every Linux (`proc(5)`, `USER_HZ`).
const CPU_TICKS: f64 = 100.0;

/// A session in a pod, of the shipped rule's own tests.
const SESSION: &str = include_str!("../rules/pods/session-in-pod.test.jsonl");

fn main() {
    let number =
        |name: &str, otherwise| std::env::var(name).map_or(otherwise, |it| it.parse().unwrap());
    let (rate, span) = (number("RATE", RATE), Duration::from_secs(number("SPAN", SPAN)));
    let dir = tempfile::tempdir().unwrap();
    let arrived = receive(dir.path());
    let mut log = Log::create(dir.path());
    let mut daemon = Daemon::start(dir.path());
    let session = Session::new();
    // It runs when the first alert is there; what that took is no part of the figures.
    log.write(&session.event(0));
    wait_for(&arrived, 1);
    let idle = daemon.cpu_seconds();
    let sent = write(&mut log, &session, rate, span);
    wait_for(&arrived, sent.len() + 1);
    wait_until_kept(dir.path(), log.events);
    let (memory, cpu) = (daemon.memory_bytes(), daemon.cpu_seconds() - idle);
    let sealed = Catalog::open(&dir.path().join("archive")).unwrap().segments().unwrap().len();
    daemon.end();
    println!("{sealed} segments were sealed meanwhile");
    report(&log, (memory, cpu), &late(&sent, &arrived), span);
}

/// When each session was written: by its number, from 1.
type Sent = Vec<Instant>;

/// When the alert of each session arrived first.
type Arrived = Arc<Mutex<BTreeMap<usize, Instant>>>;

/// Writes the log at that rate.
fn write(log: &mut Log, session: &Session, rate: u64, span: Duration) -> Sent {
    let templates = quiet_lines();
    let mut lines = templates.iter().cycle();
    let (mut sent, mut draw) = (Sent::new(), 0x9e37_79b9_7f4a_7c15_u64);
    let (began, before) = (Instant::now(), log.bytes);
    let mut due_session = Duration::ZERO;
    while began.elapsed() < span {
        let due = before + rate * u64::try_from(began.elapsed().as_micros()).unwrap() / 1_000_000;
        while log.bytes < due {
            let line = lines.next().unwrap().event(log.events);
            log.write(&line);
        }
        if began.elapsed() >= due_session {
            let line = session.event(sent.len() + 1);
            sent.push(Instant::now());
            log.write(&line);
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            due_session += Duration::from_micros(draw % (2_000_000 / SESSIONS));
        }
        std::thread::sleep(TICK);
    }
    sent
}

/// The events of the corpus that no shipped rule matches.
fn quiet_lines() -> Vec<Template> {
    let rules = kustos::rules::shipped(kustos::rules::Profile::Standard).unwrap();
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    let mut quiet = |line: &[u8]| {
        let Ok(event) = decode::line(line) else { return false };
        rules.matches(&event, &mut scratch, &mut found);
        found.is_empty()
    };
    let sample = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/audit-sample.log"));
    let sample = sample.unwrap();
    sample.split(|it| *it == b'\n').filter(|it| quiet(it)).map(Template::new).collect()
}

/// An event, and where in it stands what makes another one of it.
struct Template {
    line: Vec<u8>,
    audit_id: usize,
    times: Vec<usize>,
}

impl Template {
    fn new(line: &[u8]) -> Template {
        let text = std::str::from_utf8(line).unwrap();
        let after = |key: &str| text.rfind(key).map(|it| it + key.len());
        let times = ["\"requestReceivedTimestamp\":\"", "\"stageTimestamp\":\""];
        let line = [line, b"\n"].concat();
        Template {
            audit_id: text.find("\"auditID\":\"").unwrap() + "\"auditID\":\"".len(),
            times: times.into_iter().filter_map(after).collect(),
            line,
        }
    }

    /// The event as it happens now, the `number`th.
    fn event(&self, number: u64) -> Vec<u8> {
        let mut line = self.line.clone();
        let mut time = Vec::new();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        event::write_micros(i64::try_from(now.as_micros()).unwrap(), &mut time);
        let mut put = |at: usize, text: &[u8]| line[at..at + text.len()].copy_from_slice(text);
        put(self.audit_id, format!("{number:08x}").as_bytes());
        self.times.iter().for_each(|at| put(*at, &time));
        line
    }
}

/// What has to alert.
struct Session(Template);

impl Session {
    fn new() -> Session {
        let first = SESSION.lines().next().unwrap();
        let test: BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(first).unwrap();
        Session(Template::new(test["event"].get().as_bytes()))
    }

    fn event(&self, number: usize) -> Vec<u8> {
        self.0.event(number as u64)
    }
}

/// The number of the session that an alert is about.
fn session_of(alert: &[u8]) -> usize {
    let alert: serde_json::Value = serde_json::from_slice(alert).unwrap();
    let id = alert["alert"]["event"]["auditID"].as_str().unwrap();
    usize::from_str_radix(id.split('-').next().unwrap(), 16).unwrap()
}

/// A log as an API server writes it.
struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    bytes: u64,
    events: u64,
    rotations: u32,
}

impl Log {
    fn create(dir: &Path) -> Log {
        fs::create_dir(dir.join("log")).unwrap();
        let path = dir.join("log/audit.log");
        let file = File::create(&path).unwrap();
        Log { path, file, size: 0, bytes: 0, events: 0, rotations: 0 }
    }

    fn write(&mut self, line: &[u8]) {
        if self.size + line.len() as u64 > ROTATION_BYTES {
            let name = format!("audit-2026-11-23T03-00-{:02}.000.log", self.rotations);
            fs::rename(&self.path, self.path.with_file_name(name)).unwrap();
            self.file = File::create(&self.path).unwrap();
            (self.size, self.rotations) = (0, self.rotations + 1);
        }
        self.file.write_all(line).unwrap();
        self.size += line.len() as u64;
        self.bytes += line.len() as u64;
        self.events += 1;
    }
}

/// Listens for alerts, and writes down where.
fn receive(dir: &Path) -> Arrived {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    File::create(dir.join("url")).unwrap().write_all(url.as_bytes()).unwrap();
    let arrived = Arrived::default();
    let ours = Arc::clone(&arrived);
    let answer = move || {
        for stream in listener.incoming() {
            let (stream, arrived) = (stream.unwrap(), Arc::clone(&ours));
            let answer = move || answer(&stream, &arrived);
            drop(std::thread::Builder::new().spawn(answer).unwrap());
        }
    };
    drop(std::thread::Builder::new().spawn(answer).unwrap());
    arrived
}

/// Answers the requests of one connection until it ends.
fn answer(mut stream: &TcpStream, arrived: &Arrived) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|it| it > 0) {
        let header = std::mem::take(&mut line).to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let now = Instant::now();
            arrived.lock().unwrap().entry(session_of(&body)).or_insert(now);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    }
}

/// Waits for the alerts of so many sessions.
fn wait_for(arrived: &Arrived, count: usize) {
    let since = Instant::now();
    loop {
        let there = arrived.lock().unwrap().len();
        if there >= count {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{there} of {count} sessions alerted");
        std::thread::sleep(TICK);
    }
}

/// How long each alert took, the shortest first.
fn late(sent: &Sent, arrived: &Arrived) -> Vec<Duration> {
    let arrived = arrived.lock().unwrap();
    let mut late: Vec<Duration> = (1..).zip(sent).map(|(it, at)| arrived[&it] - *at).collect();
    late.sort();
    late
}

/// The process.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Daemon {
        let config = dir.join("kustos.yaml");
        let text = format!(
            "archive: {{ dir: {0}/archive }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nlog: {{ level: warn }}\n\
             sources:\n  - {{ kind: file, cluster: bench, path: {0}/log/audit.log }}\n\
             sinks:\n  - {{ kind: webhook, name: oncall, url_file: {0}/url, min_level: high }}\n",
            dir.display()
        );
        File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kustos"));
        command.args(["run", "--config"]).arg(&config).env_remove("KUSTOS_LOG");
        Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// The most memory it had.
    fn memory_bytes(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    /// CPU time of all its threads.
    fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The name, the second field, may hold spaces; user and system time are the 14th and 15th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |it: usize| fields[it].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / CPU_TICKS
    }

    fn end(&mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until every event is kept, once.
fn wait_until_kept(dir: &Path, events: u64) {
    let (catalog, since) = (Catalog::open(&dir.join("archive")).unwrap(), Instant::now());
    loop {
        let kept: u64 = catalog.files(&Scope::default()).unwrap().iter().map(|it| it.rows).sum();
        if kept == events {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{kept} of {events} events are kept");
        std::thread::sleep(TICK);
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn report(log: &Log, (memory, cpu): (u64, f64), late: &[Duration], span: Duration) {
    let gigabytes = log.bytes as f64 / 1e9;
    println!(
        "{:.0} MB in {} s, {} events, all kept; {} rotations; {} sessions, all alerted",
        gigabytes * 1e3,
        span.as_secs(),
        log.events,
        log.rotations,
        late.len() + 1
    );
    println!("{:<34} {:>10} {:>12}", "kustos run", "", "promised");
    let row = |what: &str, value: f64, unit: &str, promised: &str| {
        println!("{what:<34} {value:>7.1} {unit:<4} {promised:>10}");
    };
    row("memory, peak", memory as f64 / 1e6, "MB", "150 MB");
    let at = |part: usize| late[(late.len() * part / 100).min(late.len() - 1)].as_secs_f64() * 1e3;
    row("write() to alert, median", at(50), "ms", "50 ms");
    row("write() to alert, 99 of 100", at(99), "ms", "250 ms");
    row("write() to alert, latest", at(100), "ms", "");
    row("CPU of one core", cpu * 100.0 / span.as_secs_f64(), "%", "");
    row("CPU s/GB", cpu / gigabytes, "s", "");
}
