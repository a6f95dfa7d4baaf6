//! A line without what its columns say, and the line back from both, byte for byte.
//!
//! One rule: a value is cut out of the line only if writing the column's value gives the same
//! bytes again. Whoever writes a batch rebuilds it and compares (`columns::Columns::finish`).

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, Int32Array, ListArray, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowNativeType, Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::schema::{CUTS, Form, SKELETON, VERBATIM};
use crate::event::{Span, write_micros};

/// A value that is left out of a skeleton: where it stood, and the mark that stands for it.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// Where the value stood in the line.
    pub span: Span,
    /// The byte that stands for it.
    pub mark: u8,
}

/// Writes the line with its gaps as marks. `gaps` do not overlap; their order does not matter.
pub fn strip(line: &str, gaps: &mut [Gap], out: &mut Vec<u8>) {
    gaps.sort_unstable_by_key(|it| it.span.start);
    let bytes = line.as_bytes();
    let mut from = 0;
    for gap in gaps {
        out.extend_from_slice(bytes.get(from..gap.span.start as usize).unwrap_or_default());
        out.push(gap.mark);
        from = gap.span.end as usize;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Whether the JSON string, given with its quotes, is what [`write_text`] makes of its content.
pub fn canonical(json: &str, content: &str) -> bool {
    // Most strings have neither an escape nor anything that would be written as one.
    if content.len() + 2 == json.len() && !any_escapes(content) {
        return true;
    }
    let mut again = Vec::with_capacity(json.len());
    write_text(content, &mut again);
    again == json.as_bytes()
}

/// A byte, eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether any of eight bytes is written as an escape, or may begin a character that is: what is below 0x20,
/// `"` and `&`, `<` and `>`, `\`, and 0xe2. All eight at once, with the borrow that a subtraction leaves in the
/// highest bit of a byte that is zero (Mycroft, 1987).
fn escapes(word: u64) -> bool {
    let zero = |it: u64| it.wrapping_sub(eight(1)) & !it;
    let is = |byte: u8| zero(word ^ eight(byte));
    // `"` and `&` differ in one bit, and so do `<` and `>`.
    let quotes = zero((word & eight(!0x04)) ^ eight(b'"'));
    let angles = zero((word & eight(!0x02)) ^ eight(b'<'));
    let control = word.wrapping_sub(eight(0x20)) & !word;
    (quotes | angles | control | is(b'\\') | is(0xe2)) & eight(0x80) != 0
}

/// Whether any byte does.
fn any_escapes(content: &str) -> bool {
    let (words, rest) = content.as_bytes().as_chunks::<8>();
    if words.iter().any(|it| escapes(u64::from_ne_bytes(*it))) {
        return true;
    }
    // What is left is looked at with what was before it, or with letters behind it.
    match content.as_bytes().last_chunk::<8>() {
        Some(last) => !rest.is_empty() && escapes(u64::from_ne_bytes(*last)),
        None => {
            let mut word = [b'a'; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            escapes(u64::from_ne_bytes(word))
        }
    }
}

/// Writes a JSON string as Go's `encoding/json` does, which is what API servers write with.
pub fn write_text(content: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if any_escapes(content) {
        content.chars().for_each(|it| write_char(it, out));
    } else {
        out.extend_from_slice(content.as_bytes());
    }
    out.push(b'"');
}

fn write_char(letter: char, out: &mut Vec<u8>) {
    match letter {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes a JSON array of strings without white space, one after the other.
pub struct ListWriter<'o> {
    out: &'o mut Vec<u8>,
    /// What stands before the next member.
    before: u8,
}

impl ListWriter<'_> {
    /// Begins an array at the end of `out`.
    pub fn begin(out: &mut Vec<u8>) -> ListWriter<'_> {
        ListWriter { out, before: b'[' }
    }

    /// Adds a member.
    pub fn member(&mut self, text: &str) {
        self.out.push(std::mem::replace(&mut self.before, b','));
        write_text(text, self.out);
    }

    /// Ends the array.
    pub fn end(self) {
        if self.before == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }
}

/// Writes a JSON array of strings without white space.
pub fn write_list<'a>(members: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut list = ListWriter::begin(out);
    members.for_each(|it| list.member(it));
    list.end();
}

/// Writes a JSON integer.
pub fn write_int(number: i32, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0; 11], 11, number.unsigned_abs());
    loop {
        at -= 1;
        // The remainder is below ten.
        digits[at] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Where the value of a mark comes from.
enum Source<'a> {
    Text(&'a StringArray),
    Json(&'a StringArray),
    /// JSON that was not written yet.
    View(&'a BinaryViewArray),
    /// JSON that was read and stands in its page.
    Page(&'a StringViewArray),
    List(&'a ListArray, &'a StringArray),
    Int(&'a Int32Array),
    Time(&'a TimestampMicrosecondArray),
}

/// A piece of a line.
enum Piece<'s, 'a> {
    /// Of the skeleton.
    Bytes(&'s [u8]),
    /// The value that a mark stands for.
    Value(&'s Source<'a>),
}

/// What follows the first bytes, if they are these. A value that was not copied is what it is compared with:
/// the same place holds the same bytes.
fn after<'l>(line: &'l [u8], first: &[u8]) -> Option<&'l [u8]> {
    let (head, rest) = line.split_at_checked(first.len())?;
    (std::ptr::eq(head, first) || head == first).then_some(rest)
}

/// Rebuilds the lines of one batch.
pub struct Rebuilder<'a> {
    skeleton: &'a BinaryArray,
    sources: [Option<Source<'a>>; 0x20],
}

impl<'a> Rebuilder<'a> {
    /// Takes the columns of `schema::CUTS` and the skeleton out of a batch, by name.
    ///
    /// # Errors
    /// When one of them is missing or has another type.
    pub fn new(batch: &'a RecordBatch) -> Result<Rebuilder<'a>, ArrowError> {
        let mut sources = std::array::from_fn(|_| None);
        for cut in &CUTS {
            let array = column(batch, cut.name)?;
            let source = match cut.form {
                Form::Text => array.as_string_opt().map(Source::Text),
                Form::Json => match array.as_binary_view_opt() {
                    Some(array) => Some(Source::View(array)),
                    None => array
                        .as_string_opt()
                        .map(Source::Json)
                        .or_else(|| array.as_string_view_opt().map(Source::Page)),
                },
                Form::List => array
                    .as_list_opt()
                    .and_then(|lists| Some(Source::List(lists, lists.values().as_string_opt()?))),
                Form::Int => array.as_primitive_opt::<Int32Type>().map(Source::Int),
                Form::Time => {
                    array.as_primitive_opt::<TimestampMicrosecondType>().map(Source::Time)
                }
            };
            let source = source.ok_or_else(|| wrong_type(cut.name, array))?;
            if let Some(slot) = sources.get_mut(cut.mark as usize) {
                *slot = Some(source);
            }
        }
        let array = column(batch, SKELETON)?;
        let skeleton = array.as_binary_opt().ok_or_else(|| wrong_type(SKELETON, array))?;
        Ok(Rebuilder { skeleton, sources })
    }

    /// Appends the line of that row, as it arrived.
    pub fn rebuild(&self, row: usize, out: &mut Vec<u8>) {
        self.pieces(row, |piece| match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Value(source) => source.write(row, out),
        });
    }

    /// Whether [`Rebuilder::rebuild`] gives that line. Long values are compared where they are; `scratch` is
    /// room for short ones.
    pub fn gives(&self, row: usize, line: &[u8], scratch: &mut Vec<u8>) -> bool {
        let mut rest = Some(line);
        self.pieces(row, |piece| {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Value(Source::View(array)) => array.value(row),
                Piece::Value(Source::Text(array)) if !any_escapes(array.value(row)) => {
                    let text = array.value(row).as_bytes();
                    rest = rest
                        .and_then(|it| after(it, b"\""))
                        .and_then(|it| after(it, text))
                        .and_then(|it| after(it, b"\""));
                    return;
                }
                Piece::Value(source) => {
                    scratch.clear();
                    source.write(row, scratch);
                    &*scratch
                }
            };
            rest = rest.and_then(|it| after(it, bytes));
        });
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// What a line is put together from, in its order.
    fn pieces<'s>(&'s self, row: usize, mut take: impl FnMut(Piece<'s, 'a>)) {
        let skeleton = self.skeleton.value(row);
        if let Some((&VERBATIM, line)) = skeleton.split_first() {
            return take(Piece::Bytes(line));
        }
        let mut from = 0;
        for (at, byte) in skeleton.iter().enumerate() {
            if let Some(Some(source)) = self.sources.get(*byte as usize) {
                take(Piece::Bytes(skeleton.get(from..at).unwrap_or_default()));
                take(Piece::Value(source));
                from = at + 1;
            }
        }
        take(Piece::Bytes(skeleton.get(from..).unwrap_or_default()));
    }
}

impl Source<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Source::Text(array) => write_text(array.value(row), out),
            Source::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Source::View(array) => out.extend_from_slice(array.value(row)),
            Source::Page(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Source::Int(array) => write_int(array.value(row), out),
            Source::Time(array) => {
                out.push(b'"');
                write_micros(array.value(row), out);
                // `write_micros` ends with the Z.
                out.push(b'"');
            }
            Source::List(lists, members) => {
                let at = |it: usize| lists.value_offsets().get(it).map_or(0, |it| it.as_usize());
                write_list((at(row)..at(row + 1)).map(|it| members.value(it)), out);
            }
        }
    }
}

/// The marks in a skeleton, one bit each.
pub type MarkSet = u32;

/// A line of the form that a skeleton's lines have, with other values, and the marks that stand for the values.
/// `None`: the skeleton is the line.
pub fn model(skeleton: &[u8]) -> Option<(Vec<u8>, MarkSet)> {
    if skeleton.first() == Some(&VERBATIM) {
        return None;
    }
    let (mut line, mut marks) = (Vec::with_capacity(skeleton.len() * 2), 0);
    for byte in skeleton {
        match CUTS.iter().find(|it| it.mark == *byte) {
            Some(cut) => {
                marks |= 1 << cut.mark;
                line.extend_from_slice(match cut.form {
                    Form::Text => b"\"\"",
                    Form::Json => b"{}",
                    Form::List => b"[]",
                    Form::Int => b"0",
                    Form::Time => b"\"2006-01-02T15:04:05.000000Z\"",
                });
            }
            None => line.push(*byte),
        }
    }
    Some((line, marks))
}

fn column<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a arrow::array::ArrayRef, ArrowError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

fn wrong_type(name: &str, array: &dyn Array) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} has type {}", array.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::unquote;
    use proptest::prelude::*;

    #[test]
    fn canonical_is_what_go_writes() {
        for json in [r#""a\u003cb\u0026""#, r#""\u2028é""#, r#""q\"\\\n\u0001""#, "\"plain\""] {
            assert!(canonical(json, &unquote(json).unwrap()), "{json}");
        }
        for json in [r#""a<b""#, r#""\u003C""#, r#""\/""#, r#""\u0041""#] {
            assert!(!canonical(json, &unquote(json).unwrap()), "{json}");
        }
    }

    #[test]
    fn every_byte_that_is_escaped_is_seen_wherever_it_stands() {
        for byte in 0..=0x7f_u8 {
            let escaped = byte < 0x20 || br#""\<>&"#.contains(&byte);
            for (before, after) in (0..20).flat_map(|it| [(it, 0), (it, 3), (it, 9)]) {
                let text =
                    "~".repeat(before) + &char::from(byte).to_string() + &"\u{7f}".repeat(after);
                assert_eq!(any_escapes(&text), escaped, "{text:?}");
            }
        }
        assert!(any_escapes("abcdefgh\u{2028}") && !any_escapes("éàñ\u{ff}漢字"));
    }

    #[test]
    fn integers_are_written_as_their_digits() {
        for number in [0, 7, -7, 200, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            write_int(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn text_is_read_back_as_it_was(text in any::<String>()) {
            let mut json = Vec::new();
            write_text(&text, &mut json);
            let json = String::from_utf8(json).unwrap();
            prop_assert_eq!(unquote(&json).unwrap(), text.clone());
            prop_assert!(canonical(&json, &text));
        }
    }
}
