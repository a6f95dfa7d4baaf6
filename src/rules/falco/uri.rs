//! The query of a request's URI.

/// The first value of a parameter. A pair that is not well encoded is passed over, as
/// the API server passes over it.
pub(super) fn parameter(uri: &str, name: &str) -> Option<String> {
    let (uri, _) = uri.split_once('#').unwrap_or((uri, ""));
    let (_, query) = uri.split_once('?')?;
    query.split('&').filter(|it| !it.is_empty() && !it.contains(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        (decoded(key)? == name).then_some(value)
    })
}

/// Without `%XX`, and with blanks for plus signs. Bytes that are no UTF-8 become U+FFFD.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let uri =
            "/api/v1/namespaces/a/pods/b/exec?command=sh&command=-c&c%6fnt=a+b%2Fc&x&%zz=1&y=%4";
        for (name, want) in [
            ("command", Some("sh")),
            ("cont", Some("a b/c")),
            ("x", Some("")),
            ("y", None),
            ("z", None),
        ] {
            assert_eq!(parameter(uri, name).as_deref(), want, "{name}");
        }
        assert_eq!(parameter("/a?x=1;y=2#?z=1", "z"), None);
        assert_eq!(parameter("/a?x=%ff", "x").as_deref(), Some("\u{fffd}"));
        assert_eq!(parameter("/a", "x"), None);
    }
}
