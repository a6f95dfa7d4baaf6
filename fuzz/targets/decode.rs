//! Any line: the decoder's verdict and fields must be `serde_json`'s.
#![no_main]

#[path = "../../tests/differential/decoder.rs"]
mod decoder;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    if let Some(difference) = decoder::difference(line) {
        panic!("{difference}");
    }
});
