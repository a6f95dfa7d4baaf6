//! What is no audit log, half of one, or one made to do harm: never a panic, never an end before
//! its time, never a byte lost; each line that is no event is marked with its reason and counted.
#![allow(clippy::print_stdout, reason = "what was measured and what was skipped")]
#![allow(clippy::unwrap_used, reason = "a test that cannot write its files should stop")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{
    Lines, archive, count, detect, ingest, kustos_with, lines, marked, put, sample, stored,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use kustos::archive::columns::Columns;
use kustos::archive::skeleton::Rebuilder;
use kustos::clock::SystemClock;
use kustos::decode::{self, Row};
use kustos::event::Flaw;
use kustos::pipeline::detect::{Job, detect as detect_in};
use kustos::pipeline::{Stop, lanes::Width};
use kustos::rules;
use kustos::source::LINE_BYTES_MAX;
use kustos::source::chunk::{Chunk, Chunker, Next};
use kustos::source::open::Input;

/// An event in which `session-in-pod` finds something; `BODY` stands for its request object.
const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"7b6a","stage":"ResponseStarted","requestURI":"/api/v1/namespaces/prod/pods/web/exec?command=sh","verb":"create","user":{"username":"mallory","groups":["system:authenticated"]},"sourceIPs":["127.0.3.7"],"userAgent":"kubectl","objectRef":{"resource":"pods","namespace":"prod","name":"web","apiVersion":"v1","subresource":"exec"},"responseStatus":{"metadata":{},"code":101},"requestObject":BODY,"requestReceivedTimestamp":"2026-11-23T03:39:13.554321Z","stageTimestamp":"2026-11-23T03:39:13.564321Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}"#;

/// The most memory a run over a line of 100 MB may have, in KiB.
const MEMORY_KIB_MAX: u64 = 1 << 20;

const LONG: usize = 100_000_000;

/// What JSON is made of.
const JSON: &[u8] = b"{}[]\":,\\ \n01eE-+.u";

fn event() -> String {
    EVENT.replace("BODY", "{\"a\":1}")
}

/// A later event: one that comes again, byte for byte, is kept once.
fn later() -> String {
    event().replace("564321Z", "564322Z")
}

/// Numbers that look random and are the same every time (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }
}

/// A text that is put in front of the program, and what it is to say of it: how many lines of
/// which reason, or `None` where only the sum is known.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    marks: Option<Vec<(&'static str, u64)>>,
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, marks: &[(&'static str, u64)]) -> Case {
    Case { name, bytes: bytes.into(), marks: Some(marks.to_vec()) }
}

fn any(name: &'static str, bytes: Vec<u8>) -> Case {
    Case { name, bytes, marks: None }
}

fn cases() -> Vec<Case> {
    let (event, later) = (event(), later());
    let mut random = Random(0x6b75_7374_6f73);
    let pretty: serde_json::Value = serde_json::from_str(&event).unwrap();
    let deep = |depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    vec![
        case("empty", "", &[]),
        case("white space", " \n\t\n\r\n \t \r\n\n   ", &[]),
        case("form feeds", "\u{b}\n\u{c}\n", &[("not_json", 2)]),
        case("no final line feed", format!("{event}\n{later}"), &[]),
        case("CRLF", format!("{event}\r\n{later}\r\n"), &[]),
        case("CR", format!("{event}\r{event}\r"), &[("not_json", 1)]),
        case("BOM", format!("\u{feff}{event}\n{later}\n"), &[]),
        case("BOM alone", "\u{feff}", &[("not_json", 1)]),
        case("cut off", event.split_at(event.len() / 2).0, &[("not_json", 1)]),
        case("cut off by one", event.strip_suffix('}').unwrap(), &[("not_json", 1)]),
        case("concatenated", format!("{event}{event}\n"), &[("not_json", 1)]),
        case("comma", format!("{event},\n{event}\n"), &[("not_json", 1)]),
        case("array", format!("[{}]\n", "{}"), &[("not_an_object", 1)]),
        case("scalars", "null\n1\n\"x\"\ntrue\n", &[("not_an_object", 4)]),
        case(
            "other objects",
            "{}\n{\"stage\":\"Panic\"}\n{\"auditID\":7}\n",
            &[("not_an_event", 3)],
        ),
        any("over many lines", format!("{event}\n{pretty:#}").into()),
        case("NULs", format!("\0\0\0\n{event}\n{}", "\0".repeat(100_000)), &[]),
        case("NUL in a string", event.replace("mallory", "mal\0lory"), &[("not_json", 1)]),
        case("NUL escaped", event.replace("mallory", "mal\\u0000lory"), &[]),
        case("half a surrogate pair", event.replace("mallory", "\\ud800"), &[]),
        case(
            "not UTF-8",
            [b"\xff\xfe\n", event.as_bytes(), b"\n\xc3\x28\n"].concat(),
            &[("not_utf8", 2)],
        ),
        case("Latin-1 within", swap(&event, b"mallory", b"mall\xf6ry"), &[("not_utf8", 1)]),
        any("UTF-16", event.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        any("noise", (0..300_000).map(|_| random.byte()).collect()),
        any("noise of JSON", (0..100_000).map(|_| JSON[random.below(JSON.len())]).collect()),
        case("deep", EVENT.replace("BODY", &deep(10_000)), &[]),
        case(
            "deep arrays",
            EVENT.replace("BODY", &("[".repeat(10_000) + &"]".repeat(10_000))),
            &[],
        ),
        case(
            "deep and not closed",
            EVENT.replace("BODY", &"[".repeat(100_000)),
            &[("not_json", 1)],
        ),
        case("keys twice", event.replace("\"verb\"", "\"verb\":[],\"user\":7,\"verb\""), &[]),
        case("many keys", EVENT.replace("BODY", &many(50_000)), &[]),
        case("huge numbers", event.replace("101", "1e999999"), &[]),
        any("odd times", odd_times(&event)),
        any("short lines", b"a\n".repeat(100_000)),
    ]
}

fn many(count: usize) -> String {
    let keys: Vec<String> = (0..count).map(|it| format!("\"{it}\":[{it}]")).collect();
    format!("{{{}}}", keys.join(","))
}

fn swap(text: &str, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = text.find(std::str::from_utf8(from).unwrap()).unwrap();
    [&text.as_bytes()[..at], to, &text.as_bytes()[at + from.len()..]].concat()
}

fn odd_times(event: &str) -> Vec<u8> {
    let times = [
        "9999-12-31T23:59:59.999999Z",
        "0000-01-01T00:00:00.000000Z",
        "0001-01-01T00:00:00Z",
        "-009999-01-01T00:00:00Z",
        "+292277-01-09T04:00:54.775807Z",
        "1969-12-31T23:59:59.999999Z",
        "2026-02-30T00:00:00.000000Z",
        "2026-11-23T23:59:60.000000Z",
        "2026-11-23T24:00:00.000000Z",
        "2026-11-23T03:39:13.5Z",
        "2026-11-23T03:39:13.123456789Z",
        "2026-11-23T03:39:13+25:00",
        "2026-11-23 03:39:13",
        "\\u0032026-11-23T03:39:13.554321Z",
        "0",
        "",
    ];
    let line = |it: &&str| event.replace("2026-11-23T03:39:13.564321Z", it);
    times.iter().map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

/// NUL bytes before a line hold nothing: they are counted, and no row.
fn without_nul(line: &[u8]) -> &[u8] {
    let run = line.iter().take_while(|it| **it == 0).count();
    &line[run..]
}

#[test]
fn every_byte_is_kept_but_nuls_before_lines_and_what_is_no_event_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("archive");
    let mut rows = 0;
    for case in cases() {
        let file = put(&dir.path().join("input"), &case.bytes);
        let cluster = case.name.replace(' ', "-");
        let ran = ingest(&kept, &cluster, std::slice::from_ref(&file)).ended(0);
        let held: Vec<&[u8]> = lines(&case.bytes).map(without_nul).collect();
        let nul: usize = lines(&case.bytes).map(|it| it.len() - without_nul(it).len()).sum();
        let said = ran.stderr.contains("NUL byte");
        assert_eq!(said, nul > 0, "{}: {}", case.name, ran.stderr);
        let held: Vec<&[u8]> = held.into_iter().filter(|it| !it.is_empty()).collect();
        rows += held.len();
        let stored = stored(&kept, &cluster);
        assert!(stored == held, "{}: {} rows of {}", case.name, stored.len(), held.len());
        let marked = marked(&kept, &cluster);
        match case.marks {
            Some(marks) => {
                let marks = marks.into_iter().map(|(reason, lines)| (reason.to_owned(), lines));
                assert_eq!(marked, marks.collect::<BTreeMap<_, _>>(), "{}", case.name);
            }
            None => assert!(marked.values().sum::<u64>() <= held.len() as u64, "{}", case.name),
        }
        detect(&[], &[file]).ended(0);
    }
    assert_eq!(common::status(&kept)["events"], rows);
    archive("verify", &kept).ended(0);
}

#[test]
fn rules_judge_an_event_whatever_its_body_is() {
    let dir = tempfile::tempdir().unwrap();
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for body in [&deep, "{\"a\":1}", "1e999999", "\"\\ud800\"", "null"] {
        let file = put(&dir.path().join("a.log"), EVENT.replace("BODY", body).as_bytes());
        let ran = detect(&[], &[file]).ended(0);
        assert!(ran.stdout.contains("aec54e96-9c33-4b73-a19f-f4b5d903043d"), "{}", ran.stdout);
    }
}

#[test]
fn a_body_too_deep_for_a_rule_is_counted_and_the_rest_of_it_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let spec = r#"{"kind":"Pod","spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]},"x":"#;
    let pod = EVENT
        .replace(",\"subresource\":\"exec\"", "")
        .replace("ResponseStarted", "ResponseComplete")
        .replace("\"code\":101", "\"code\":201")
        .replace("BODY", &format!("{spec}{deep}}}"));
    let input = Input::File(put(&dir.path().join("a.log"), pod.as_bytes()));
    let job = Job {
        inputs: vec![input],
        cluster: "c".into(),
        rules: Arc::new(rules::shipped(rules::Profile::Standard).unwrap()),
        clock: Arc::new(SystemClock),
        width: Width::default(),
        line_bytes_max: LINE_BYTES_MAX,
        stop: Stop::default(),
    };
    let (mut found, mut unread, mut marked) = (Vec::new(), 0, 0);
    let failures = detect_in(&job, |findings, counts| {
        found.extend(findings.into_iter().map(|it| it.rule.id));
        unread += counts.bodies_unread;
        marked += counts.marked.len();
        Ok::<(), ()>(())
    });
    assert!(failures.unwrap().is_empty());
    assert!(found.iter().any(|it| it == "024904d5-96ff-4224-bcc9-329a419e833f"), "{found:?}");
    assert_eq!((unread, marked), (1, 0));
}

#[test]
fn a_line_over_the_limit_is_kept_in_pieces_within_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let head = EVENT.split("BODY").next().unwrap();
    let tail = EVENT.split("BODY").nth(1).unwrap();
    let filling = "x".repeat(LONG - head.len() - tail.len());
    let json = format!("{head}\"{filling}\"{tail}").into_bytes();
    for (name, long) in [("json", json), ("letters", vec![b'a'; LONG])] {
        let log = [event().as_bytes(), b"\n", &long, b"\n", later().as_bytes(), b"\n"].concat();
        let file = put(&dir.path().join(name), &log);
        let kept = dir.path().join(format!("archive-{name}"));
        let ran = ingest(&kept, name, std::slice::from_ref(&file)).ended(0);
        println!("ingest of {name}: {} MiB", ran.memory_kib >> 10);
        assert!(ran.memory_kib < MEMORY_KIB_MAX, "{} KiB", ran.memory_kib);
        let found = detect(&[], &[file]).ended(0);
        println!("detect in {name}: {} MiB", found.memory_kib >> 10);
        assert!(found.memory_kib < MEMORY_KIB_MAX, "{} KiB", found.memory_kib);
        assert_eq!(found.stdout.lines().count(), 2, "the events before and after are judged");
        let rows = stored(&kept, name);
        assert!(rows[1..rows.len() - 1].concat() == long, "the pieces are not the line");
        assert!(rows.iter().all(|it| it.len() <= LINE_BYTES_MAX));
        let oversize = u64::try_from(rows.len() - 2).unwrap();
        assert_eq!(marked(&kept, name), BTreeMap::from([("oversize".to_owned(), oversize)]));
        archive("verify", &kept).ended(0);
    }
}

#[test]
fn a_line_just_below_the_limit_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let filling = "x".repeat(LINE_BYTES_MAX - 2_000);
    let line = EVENT.replace("BODY", &format!("\"{filling}\""));
    assert!(line.len() < LINE_BYTES_MAX);
    let file = put(&dir.path().join("a.log"), line.as_bytes());
    let kept = dir.path().join("archive");
    let ran = ingest(&kept, "c", std::slice::from_ref(&file)).ended(0);
    println!("ingest: {} MiB", ran.memory_kib >> 10);
    assert!(ran.memory_kib < MEMORY_KIB_MAX, "{} KiB", ran.memory_kib);
    assert!(stored(&kept, "c") == [line.as_bytes()]);
    assert!(marked(&kept, "c").is_empty());
    assert!(!detect(&[], &[file]).ended(0).stdout.is_empty());
}

#[test]
fn the_pieces_of_a_long_line_put_together_are_the_line_also_where_it_is_blank() {
    for line in
        [&b"{\"a\":\"          \"}"[..], b"                 x", b"x                 ", b"12345678"]
    {
        let log = [line, b"\nnext\n"].concat();
        let mut stream = &log[..];
        let mut chunker = Chunker::at(0, 4);
        let mut rows: Vec<u8> = Vec::new();
        let mut take = |chunk: Chunk| {
            chunk.lines().for_each(|(_, it)| rows.extend_from_slice(it));
        };
        while let Next::Chunk(chunk) = chunker.next(&mut stream).unwrap() {
            take(chunk);
        }
        chunker.finish().map(&mut take);
        let want = [line, b"next"].concat();
        assert_eq!(String::from_utf8(rows).unwrap(), String::from_utf8(want).unwrap());
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn held(bytes: &[u8]) -> Lines {
    let mut held = Lines::new();
    lines(bytes).for_each(|it| count(&mut held, it));
    held
}

#[test]
fn whole_compressed_files_are_read_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = fs::read(sample()).unwrap();
    let (one, two) = log.split_at(log.len() / 3);
    let cases = [
        ("gzip", gzip(&log), &log[..]),
        ("two-members", [gzip(one), gzip(two)].concat(), &log),
        ("an-empty-member", [gzip(b""), gzip(&log), gzip(b"")].concat(), &log),
        ("empty-gzip", gzip(b""), b""),
        ("zstd", zstd(&log, 20), &log),
        ("two-frames", [zstd(one, 20), zstd(two, 20)].concat(), &log),
        ("long-window", zstd(&log, 30), &log),
        ("empty-zstd", zstd(b"", 20), b""),
        ("no-bytes", Vec::new(), b""),
    ];
    let kept = dir.path().join("archive");
    for (name, bytes, want) in cases {
        let file = put(&dir.path().join(name), &bytes);
        let ran = ingest(&kept, name, std::slice::from_ref(&file)).ended(0);
        assert!(ran.memory_kib < MEMORY_KIB_MAX, "{name}: {} KiB", ran.memory_kib);
        assert!(common::stored_lines(&kept, Some(name)) == held(want), "{name}");
        let found = detect(&[], &[file]).ended(0).stdout.lines().count();
        assert_eq!(found > 0, !want.is_empty(), "{name}");
    }
}

#[test]
fn a_damaged_compressed_file_is_kept_as_far_as_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = fs::read(sample()).unwrap();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let mut wrong_sum = gzip(&log);
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let cases = [
        ("half-a-gzip", half(&gzip(&log))),
        ("half-a-zstd", half(&zstd(&log, 20))),
        ("a-wrong-sum", wrong_sum),
        ("more-after-it", [&gzip(&log)[..], b"and then something else"].concat()),
        ("half-a-header", gzip(&log)[..5].to_vec()),
    ];
    let kept = dir.path().join("archive");
    for (name, bytes) in cases {
        let file = put(&dir.path().join(name), &bytes);
        let ran = ingest(&kept, name, std::slice::from_ref(&file)).ended(3);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        let stored = stored(&kept, name).join(&b'\n');
        assert!(log.starts_with(&stored), "{name}: not the beginning of the log");
        assert!(
            stored.len() > log.len() / 4 || name == "half-a-header",
            "{name}: {}",
            stored.len()
        );
        detect(&[], std::slice::from_ref(&file)).ended(3);
        // The same again keeps nothing twice; the whole one, when it comes, is kept whole.
        ingest(&kept, name, &[file]).ended(3);
        assert_eq!(self::stored(&kept, name).join(&b'\n').len(), stored.len(), "{name}");
        ingest(&kept, name, &[sample()]).ended(0);
        let all = common::stored_lines(&kept, Some(name));
        assert!(held(&log).keys().all(|it| all.contains_key(it)), "{name}");
    }
}

#[test]
fn one_unreadable_input_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let broken = put(&dir.path().join("broken.gz"), &gzip(&fs::read(sample()).unwrap())[..5_000]);
    let good = put(&dir.path().join("good.log"), format!("{}\n", event()).as_bytes());
    let kept = dir.path().join("archive");
    ingest(&kept, "c", &[broken.clone(), good.clone()]).ended(3);
    let mut line = Lines::new();
    count(&mut line, event().as_bytes());
    let all = common::stored_lines(&kept, None);
    assert!(line.keys().all(|it| all.contains_key(it)));
    assert!(detect(&[], &[broken, good]).ended(3).stdout.contains("aec54e96"));
}

#[cfg(unix)]
#[test]
fn a_folder_of_odd_files_gives_its_logs() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a folder\nwith a name");
    fs::create_dir_all(folder.join("below.log/empty")).unwrap();
    let names: [&[u8]; 6] = [
        b"line\nfeed.log",
        b" spaces .log",
        "\u{65e5}\u{672c}\u{8a9e} \u{202e}.json".as_bytes(),
        b"not-\xff-utf8.log",
        b"-o.log",
        b"below.log/inner.ndjson",
    ];
    let line = |at: usize| event().replace("7b6a", &format!("id-{at}")) + "\n";
    for (at, name) in names.iter().enumerate() {
        put(&folder.join(OsStr::from_bytes(name)), line(at).as_bytes());
    }
    put(&folder.join("empty.log"), b"");
    put(&folder.join("notes.txt"), b"not a log\n");
    symlink(dir.path().join("gone"), folder.join("dangling.log")).unwrap();
    symlink(&folder, folder.join("loop")).unwrap();
    fifo(&folder.join("pipe.log"));
    let kept = dir.path().join("archive");
    ingest(&kept, "c", std::slice::from_ref(&folder)).ended(0);
    let want: String = (0..names.len()).map(line).collect();
    assert!(common::stored_lines(&kept, None) == held(want.as_bytes()));
    assert_eq!(detect(&[], &[folder]).ended(0).stdout.lines().count(), names.len());
}

#[cfg(unix)]
fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_read_once_and_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = fs::read(sample()).unwrap();
    let kept = dir.path().join("archive");
    let pipe = dir.path().join("pipe");
    fifo(&pipe);
    let through = |run: &dyn Fn() -> common::Ran| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut open = fs::File::options().write(true).open(&pipe).unwrap();
                // A reader that goes away early is told by what it kept.
                drop(open.write_all(&log));
            });
            run()
        })
    };
    through(&|| ingest(&kept, "c", std::slice::from_ref(&pipe)).ended(0));
    assert!(common::stored_lines(&kept, None) == held(&log));
    let found = through(&|| detect(&[], std::slice::from_ref(&pipe)).ended(0));
    let of_file = detect(&[], &[sample()]).ended(0);
    assert_eq!(found.stdout.lines().count(), of_file.stdout.lines().count());
}

#[test]
fn standard_input_is_kept_like_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = fs::read(sample()).unwrap();
    let inputs = [("plain", log.clone()), ("gzip", gzip(&log)), ("nothing", Vec::new())];
    for (cluster, bytes) in inputs {
        let kept = dir.path().join("archive");
        let arguments = ["ingest", "-o", "none", "--cluster", cluster, "-", "--archive"];
        let arguments = [&arguments.map(OsStr::new)[..], &[kept.as_os_str()]].concat();
        kustos_with(&arguments, &bytes).ended(0);
        let want = if bytes.is_empty() { Lines::new() } else { held(&log) };
        assert!(common::stored_lines(&kept, Some(cluster)) == want, "{cluster}");
        let again = kustos_with(&arguments, &bytes).ended(0);
        assert!(again.stderr.starts_with("kept 0 lines"), "{}", again.stderr);
        let found = kustos_with(&["detect", "-"].map(OsStr::new), &bytes).ended(0);
        assert_eq!(found.stdout.is_empty(), bytes.is_empty(), "{cluster}");
    }
}

#[test]
fn a_name_that_no_folder_can_have_is_refused_before_anything_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("archive");
    for name in ["", "..", "a/b", "new\nline", &"x".repeat(300)] {
        let ran = ingest(&kept, name, &[sample()]).ended(2);
        assert!(ran.stderr.contains("is no name"), "{}", ran.stderr);
        assert!(!kept.exists());
    }
}

/// Genuine lines, each changed in a few places.
fn mutants(count: usize) -> Vec<Vec<u8>> {
    const PIECES: [&[u8]; 16] = [
        b"null",
        b"{}",
        b"[[[[",
        b"}}",
        b"\"",
        b"\\",
        b"\\ud800",
        b"1e999",
        b"-0",
        b"\xff",
        b"\0",
        b"\x02",
        b"\r",
        b",,",
        b":",
        b"\xef\xbb\xbf",
    ];
    let log = fs::read(sample()).unwrap();
    let genuine: Vec<&[u8]> = lines(&log).filter(|it| it.len() < 20_000).collect();
    let mut random = Random(0x0ddb_a115_eed5);
    let mut mutant =
        |_| {
            let mut line = genuine[random.below(genuine.len())].to_vec();
            for _ in 0..=random.below(4) {
                let from = random.below(line.len());
                let to = (from + random.below(40)).min(line.len());
                let other = genuine[random.below(genuine.len())];
                match random.below(7) {
                    0 if from < line.len() => line[from] = random.byte(),
                    1 if from < line.len() => line[from] ^= 1 << random.below(8),
                    2 => drop(line.drain(from..to)),
                    3 => line.truncate(from.max(1)),
                    4 => drop(line.splice(from..from, line[from..to].to_vec())),
                    5 => drop(line.splice(from..from, PIECES[random.below(PIECES.len())].to_vec())),
                    _ => drop(line.splice(
                        from..to,
                        other[from.min(other.len())..to.min(other.len())].to_vec(),
                    )),
                }
            }
            line.iter_mut().filter(|it| **it == b'\n').for_each(|it| *it = b' ');
            line
        };
    let mut mutants: Vec<Vec<u8>> = (0..count).map(&mut mutant).collect();
    mutants.retain(|it| lines(it).next().is_some());
    mutants
}

#[test]
fn changed_lines_come_back_from_their_columns() {
    let (mut events, mut broken) = (0, 0);
    for lines in mutants(6_000).chunks(500) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let mut columns = Columns::default();
        for (index, line) in (0_u32..).zip(&lines) {
            let decoded = decode::line(line);
            if decoded.is_ok() {
                events += 1
            } else {
                broken += 1
            }
            columns.append(&Row::plain(line, decoded), index, [0; 32]);
        }
        let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, &lines).unwrap();
        let rebuilder = Rebuilder::new(&batch.rows).unwrap();
        for (row, line) in lines.iter().enumerate() {
            let mut back = Vec::new();
            rebuilder.rebuild(row, &mut back);
            assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(line));
            assert_eq!(back, *line);
        }
    }
    assert!(events > 500 && broken > 500, "{events} objects, {broken} others");
}

#[test]
fn what_is_no_json_for_serde_is_none_for_the_decoder() {
    for line in mutants(6_000) {
        let ours = decode::line(&line);
        let Ok(text) = str::from_utf8(&line) else {
            assert_eq!(ours.err(), Some(Flaw::NotUtf8));
            continue;
        };
        // The decoder passes over a byte order mark; serde does not.
        let text = text.trim_start_matches('\u{feff}');
        let strict = serde_json::from_str::<serde::de::IgnoredAny>(text);
        let want = strict.is_ok() && text.trim_ascii_start().starts_with('{');
        assert!(ours.is_ok() == want, "{strict:?} and {:?}: {text}", ours.err());
    }
}

#[test]
fn changed_lines_go_through_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let mutants = mutants(6_000);
    let log = mutants.join(&b'\n');
    let file: PathBuf = put(&dir.path().join("a.log"), &log);
    let kept = dir.path().join("archive");
    ingest(&kept, "c", std::slice::from_ref(&file)).ended(0);
    assert!(stored(&kept, "c") == mutants);
    archive("verify", &kept).ended(0);
    detect(&[], &[file]).ended(0);
}
