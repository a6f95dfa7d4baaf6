//! Genuine lines, altered at random: the decoder's verdict and fields must be `serde_json`'s.
//!
//! Everything follows from a seed. `SEED` is another one and `CASES` how many lines are altered;
//! a failure names the seed of its one case: `SEED=n CASES=1 cargo test --test fuzz_seeded`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop, and tells what it did"
)]

use kustos::decode;

#[path = "differential/decoder.rs"]
mod decoder;
#[path = "differential/random.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod random;

use decoder::difference;
use random::Random;

/// Lines that are altered unless more are asked for: some seconds in a development build.
const CASES: u64 = 100_000;

/// Alterations of one line, at most.
const ALTERATIONS_MAX: usize = 4;

/// What is put into lines: what JSON is made of, and what is nearly JSON.
const PIECES: [&[u8]; 22] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\x",
    b"0",
    b"-",
    b"1e9999",
    b"01",
    b"null",
    b"tru",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b"\"verb\":\"get\",",
];

#[test]
fn an_altered_line_is_judged_and_read_as_serde_json_does() {
    let asked = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let (seed, cases) = (asked("SEED").unwrap_or(1), asked("CASES").unwrap_or(CASES));
    let sample = include_bytes!("data/audit-sample.log");
    let lines: Vec<&[u8]> = sample.split(|it| *it == b'\n').filter(|it| !it.is_empty()).collect();
    let (mut valid, mut invalid) = (0_u64, 0_u64);
    for seed in seed..seed + cases {
        let mut random = Random::new(seed);
        let line = altered(&lines, &mut random);
        match difference(&line) {
            None if decode::line(&line).is_ok() => valid += 1,
            None => invalid += 1,
            Some(why) => {
                let shown = String::from_utf8_lossy(&line);
                panic!("SEED={seed} CASES=1 cargo test --test fuzz_seeded: {why}\n{shown}");
            }
        }
    }
    println!("{valid} altered lines were JSON objects, {invalid} were not");
    assert!(cases < 1_000 || (valid > cases / 20 && invalid > cases / 20), "{valid}, {invalid}");
}

/// A genuine line after some alterations.
fn altered(lines: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut line = random.pick(lines).to_vec();
    for _ in 0..=random.below(ALTERATIONS_MAX) {
        let at = random.below(line.len() + 1);
        let end = at + random.below(line.len() - at + 1).min(40);
        match random.below(6) {
            0 if at < line.len() => line[at] ^= 1 << random.below(8),
            1 => drop(line.drain(at..end)),
            2 => line.truncate(at),
            3 => drop(line.splice(at..at, random.pick(&PIECES).iter().copied())),
            4 => {
                let other = random.pick(lines);
                let from = random.below(other.len());
                let to = from + random.below(other.len() - from).min(200);
                drop(line.splice(at..end, other[from..to].iter().copied()));
            }
            _ => repeat_a_member(&mut line, random),
        }
        if line.is_empty() {
            break;
        }
    }
    line
}

/// Writes a member of the object a second time, before another one: the last of them counts.
fn repeat_a_member(line: &mut Vec<u8>, random: &mut Random) {
    let commas: Vec<usize> =
        line.windows(2).enumerate().filter(|(_, it)| *it == b",\"").map(|(at, _)| at).collect();
    if commas.len() < 2 {
        return;
    }
    let one = random.below(commas.len() - 1);
    let member = line[commas[one]..commas[one + 1]].to_vec();
    let at = random.pick(&commas);
    drop(line.splice(at..at, member));
}
