//! Where a JSON text that is written over several lines ends. It is not checked here, only followed.

/// Whether the bytes begin, or may begin once there are more, with a brace or bracket alone on its line: no line
/// of a log is that.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    match text.split_first() {
        None => true,
        Some((b'{' | b'[', rest)) => {
            let end = rest.iter().position(|it| !matches!(it, b' ' | b'\t' | b'\r'));
            end.is_none_or(|it| rest.get(it) == Some(&b'\n'))
        }
        Some(_) => false,
    }
}

/// Where a text ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After the line feed of the line it ends on, or at the end of the stream.
    At(usize),
    /// Not within these bytes.
    Open,
    /// It is no JSON text, or something else stands on the line it ends on.
    Never,
}

/// Where the text ends that the bytes begin with; `ended`: no more of them come.
pub(super) fn end(bytes: &[u8], ended: bool) -> End {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = crate::event::string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth < 2 => {
                return if depth == 1 { line_end(bytes, at + 1, ended) } else { End::Never };
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    End::Open
}

fn line_end(bytes: &[u8], from: usize, ended: bool) -> End {
    let rest = bytes.get(from..).unwrap_or_default();
    let length = rest.iter().position(|it| *it == b'\n').map(|it| it + 1);
    let line = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
    match length {
        _ if !line.trim_ascii().is_empty() => End::Never,
        Some(length) => End::At(from + length),
        None if ended => End::At(bytes.len()),
        None => End::Open,
    }
}
