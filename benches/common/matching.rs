//! Decoding and matching as a worker does them: the lines of a chunk are all decoded before the first is matched.

use kustos::decode;
use kustos::event::Event;
use kustos::rules::{LoadOptions, Profile, RuleSet, Scratch, load};
use kustos::source::chunk::CHUNK_BYTES;
use rustix::time::ClockId;

/// The lines of a log.
pub(crate) fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split(|it| *it == b'\n').filter(|it| !it.is_empty()).collect()
}

/// The shipped rules, if asked for, and these.
#[expect(clippy::disallowed_methods, reason = "what a bench writes need not last")]
pub(crate) fn set(with_shipped: bool, texts: &[String]) -> RuleSet {
    let folder = tempfile::tempdir().unwrap();
    for (at, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{at}.yml")), text).unwrap();
    }
    let shipped = with_shipped.then_some(Profile::Standard);
    let options = LoadOptions { shipped, ..LoadOptions::default() };
    let loaded = load(&[folder.path().to_owned()], &options);
    loaded.unwrap_or_else(|error| panic!("{error}")).rules
}

/// Decodes the lines a chunk at a time, and hands each chunk's events to `take`.
fn each_chunk<'l>(lines: &[&'l [u8]], mut take: impl FnMut(&[Event<'l>])) {
    let mut events = Vec::new();
    let mut bytes = 0;
    for line in lines {
        events.extend(decode::line(line));
        bytes += line.len() + 1;
        if bytes >= CHUNK_BYTES {
            take(&events);
            events.clear();
            bytes = 0;
        }
    }
    take(&events);
}

/// Decodes the lines and matches them; gives how many matches there are.
pub(crate) fn matched(rules: &RuleSet, scratch: &mut Scratch, lines: &[&[u8]]) -> usize {
    let (mut found, mut sum) = (Vec::new(), 0);
    each_chunk(lines, |events| {
        for event in events {
            rules.matches(event, scratch, &mut found);
            sum += found.len();
        }
    });
    sum
}

/// What matching costs on top of decoding, in CPU seconds.
pub(crate) struct Added {
    pub(crate) decode: f64,
    pub(crate) added: f64,
    pub(crate) matches: usize,
}

/// Decodes the lines alone, and then decodes and matches them: neighbours in time, whose difference other work on
/// the machine moves little.
pub(crate) fn added(rules: &RuleSet, lines: &[&[u8]]) -> Added {
    let decode = super::seconds(ClockId::ThreadCPUTime, || {
        each_chunk(lines, |events| {
            std::hint::black_box(events.iter().filter(|it| it.is_audit()).count());
        });
    });
    let mut matches = 0;
    let both = super::seconds(ClockId::ThreadCPUTime, || {
        matches = matched(rules, &mut Scratch::default(), lines);
    });
    Added { decode, added: both - decode, matches }
}

/// The pair in the middle.
pub(crate) fn median(mut pairs: Vec<Added>) -> Added {
    pairs.sort_by(|left, right| left.added.total_cmp(&right.added));
    pairs.swap_remove(pairs.len() / 2)
}
