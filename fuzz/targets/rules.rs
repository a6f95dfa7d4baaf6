//! Any text as a rule file, of both dialects: it loads or is refused with a reason, and what loads can be asked about.
#![no_main]

use std::sync::LazyLock;

use kustos::decode;
use kustos::detect::{Judged, Origin, judge};
use kustos::rules::{LoadOptions, Scratch, load_text};

/// Genuine lines, that rules which load are tried on.
static LINES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| {
    let sample: &[u8] = include_bytes!("../../tests/data/audit-sample.log");
    sample.split(|it| *it == b'\n').filter(|it| !it.is_empty()).take(8).collect()
});

libfuzzer_sys::fuzz_target!(|text: &str| {
    for lenient in [false, true] {
        let options = LoadOptions { lenient, ..LoadOptions::default() };
        let Ok(loaded) = load_text([("rules.yaml", text)], &options) else { continue };
        let (mut scratch, mut judged) = (Scratch::default(), Judged::default());
        for event in LINES.iter().filter_map(|it| decode::line(it).ok()) {
            let origin = Origin { cluster: "c", source: "n", position: 0 };
            judge(&event, &loaded.rules, &mut scratch, &origin, &mut judged);
        }
    }
});
