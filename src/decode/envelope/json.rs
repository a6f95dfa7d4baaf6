//! The members of one JSON object or array, found without reading into them.
//!
//! The text was checked by `decode::line` before, or a member that does not end is where it was cut off.

use std::borrow::Cow;
use std::ops::Range;

use crate::decode::scan::Scan;
use crate::event::unquote;

/// An object's members, by where they stand.
pub(super) struct Object<'t> {
    text: &'t str,
    members: Vec<(Cow<'t, str>, Range<usize>)>,
}

impl<'t> Object<'t> {
    /// The object that the text is. `None`: it is none.
    pub(super) fn of(text: &'t str) -> Option<Object<'t>> {
        let mut scan = at_value(text);
        scan.pass(b'{')?;
        scan.space();
        let mut members = Vec::new();
        while scan.peek()? != b'}' {
            let key = scan.key()?;
            let from = scan.at;
            scan.value()?;
            members.push((plain(key), from..scan.at));
            next(&mut scan)?;
        }
        Some(Object { text, members })
    }

    /// Where a member's value stands. The last of repeated keys counts.
    pub(super) fn range(&self, key: &str) -> Option<Range<usize>> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, range)| range.clone())
    }

    /// A member's value, as JSON text.
    pub(super) fn get(&self, key: &str) -> Option<&'t str> {
        self.text.get(self.range(key)?)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(name, _)| name == key)
    }

    /// A member that is a string, without quotes and escapes.
    pub(super) fn string(&self, key: &str) -> Option<Cow<'t, str>> {
        self.get(key).and_then(unquote)
    }

    /// A member that is an object.
    pub(super) fn inner(&self, key: &str) -> Option<Object<'t>> {
        Object::of(self.get(key)?)
    }

    /// Where the members of a member that is an array stand in the object's text.
    pub(super) fn array(&self, key: &str) -> Option<Vec<Range<usize>>> {
        let at = self.range(key)?;
        let found = array(self.text.get(at.clone())?)?;
        Some(found.into_iter().map(|it| it.start + at.start..it.end + at.start).collect())
    }
}

/// Where the members of the array that the text is stand. `None`: it is none.
pub(super) fn array(text: &str) -> Option<Vec<Range<usize>>> {
    let mut scan = at_value(text);
    scan.pass(b'[')?;
    scan.space();
    let mut members = Vec::new();
    while scan.peek()? != b']' {
        let from = scan.at;
        scan.value()?;
        members.push(from..scan.at);
        next(&mut scan)?;
    }
    Some(members)
}

/// At the first value, after a byte order mark and white space.
pub(super) fn at_value(text: &str) -> Scan<'_> {
    let mut scan = Scan::new(text);
    if text.starts_with('\u{feff}') {
        scan.at = '\u{feff}'.len_utf8();
    }
    scan.space();
    scan
}

/// Passes the comma after a member, if there is one.
fn next(scan: &mut Scan<'_>) -> Option<()> {
    scan.space();
    if scan.peek()? == b',' {
        scan.at += 1;
        scan.space();
    }
    Some(())
}

/// A key without escapes.
fn plain(key: &[u8]) -> Cow<'_, str> {
    let text = std::str::from_utf8(key).unwrap_or_default();
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let quoted = format!("\"{text}\"");
    Cow::Owned(unquote(&quoted).unwrap_or_default().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_where_they_are_and_the_last_of_a_key_counts() {
        let text = r#" {"a":1,"\u0062":{"c":"d\n"}, "a" : [ 2 , "x" ]} "#;
        let object = Object::of(text).unwrap();
        assert_eq!(object.get("a"), Some(r#"[ 2 , "x" ]"#));
        assert_eq!(object.inner("b").unwrap().string("c").unwrap(), "d\n");
        let members = object.array("a").unwrap();
        let members: Vec<_> = members.into_iter().filter_map(|it| text.get(it)).collect();
        assert_eq!(members, ["2", "\"x\""]);
        assert!(object.has("b") && !object.has("c") && object.inner("a").is_none());
        assert!(Object::of("[1]").is_none() && array("{}").is_none());
        assert!(array("[]").unwrap().is_empty());
    }
}
