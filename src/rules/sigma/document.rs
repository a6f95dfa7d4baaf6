//! Cuts a YAML file into its documents and finds the lines that errors are about,
//! because the parser knows neither.

/// One document of a file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// The line its first key stands on, from 1.
    pub(super) line: u32,
    /// The line its text starts on, from 1.
    start: u32,
    pub(super) text: String,
}

/// The documents of a file that hold anything but comments.
pub(super) fn split(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    let mut start = 1;
    for (at, line) in text.lines().enumerate() {
        let after = line.strip_prefix("---").filter(|it| it.is_empty() || it.starts_with(' '));
        if let Some(after) = after {
            documents.extend(Document::new(&current, start));
            current = vec![after];
            start = number(at);
        } else if line.trim_end() != "..." {
            current.push(line);
        }
    }
    documents.extend(Document::new(&current, start));
    documents
}

/// The documents that the one at `at` takes keys over from, in their order, by the
/// legacy `action`: the global one in force, and for `repeat` the one that is repeated.
pub(super) fn context(documents: &[Document], at: usize) -> Vec<&Document> {
    let action = |at: usize| documents.get(at).and_then(Document::action);
    let mut base = at;
    if action(at) == Some("repeat") {
        base = (0..at).rev().find(|it| action(*it).is_none()).unwrap_or(0);
    } else if action(at).is_some() {
        return Vec::new();
    }
    let global = (0..base).rev().find(|it| matches!(action(*it), Some("global" | "reset")));
    let global = global.filter(|it| action(*it) == Some("global"));
    global.into_iter().chain(base..at).filter_map(|it| documents.get(it)).collect()
}

fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

/// Whether a line holds more than a comment or a directive.
fn content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with(['#', '%'])
}

impl Document {
    fn new(lines: &[&str], start: u32) -> Option<Document> {
        let first = lines.iter().position(|line| content(line))?;
        let line = start.saturating_add(u32::try_from(first).unwrap_or(0));
        Some(Document { line, start, text: lines.join("\n") })
    }

    /// The value of a top-level key, when it is written on the key's own line.
    pub(super) fn top(&self, key: &str) -> Option<&str> {
        // The whole document may be indented.
        let first = self.text.lines().find(|line| content(line))?;
        let indent = first.get(..first.len() - first.trim_start().len())?;
        self.text.lines().find_map(|line| {
            let value = line.strip_prefix(indent)?.strip_prefix(key)?.strip_prefix(':')?;
            Some(value.trim().trim_matches(['"', '\'']))
        })
    }

    /// The rule's title, for errors about what could not be parsed.
    pub(super) fn title(&self) -> Option<String> {
        self.top("title").filter(|it| !it.is_empty()).map(str::to_owned)
    }

    /// The legacy `action` of the document.
    pub(super) fn action(&self) -> Option<&str> {
        self.top("action")
    }

    /// The line of the file that a word of the rule stands on: as a key if it is
    /// one, else anywhere; the document's first line if it is nowhere.
    pub(super) fn line_of(&self, word: &str) -> u32 {
        if word.is_empty() {
            return self.line;
        }
        let key = |line: &str| {
            let line = line.trim_start().trim_start_matches("- ");
            let line = line.trim_start_matches(['"', '\'']);
            line.strip_prefix(word).is_some_and(|rest| rest.starts_with([':', '|', '[', '"', '\'']))
        };
        let found = self.text.lines().position(key);
        let found = found.or_else(|| self.text.lines().position(|line| line.contains(word)));
        found.map_or(self.line, |at| self.start.saturating_add(number(at) - 1))
    }

    /// The line of a value of a field in the detection; of the field when it has no
    /// such value, or none is asked for.
    pub(super) fn line_of_value(&self, field: &str, value: Option<&str>) -> u32 {
        let lines: Vec<&str> = self.text.lines().collect();
        let detection = lines.iter().position(|it| it.trim_start().starts_with("detection:"));
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut first = None;
        for (at, line) in lines.iter().enumerate().skip(detection.unwrap_or(0)) {
            let key = line.trim_start().trim_start_matches("- ").trim_start_matches(['"', '\'']);
            let rest =
                key.strip_prefix(field).filter(|it| it.starts_with([':', '|', '[', '"', '\'']));
            let Some(rest) = rest else {
                continue;
            };
            first = first.or(Some(at));
            let column = line.len() - key.len();
            let below = lines.iter().enumerate().skip(at + 1).take_while(|(_, it)| {
                let listed = it.trim_start().starts_with('-') && indent(it) >= column;
                it.trim().is_empty() || indent(it) > column || listed
            });
            let mut block = std::iter::once((at, rest)).chain(below.map(|(at, it)| (at, *it)));
            let found = block.find(|(_, it)| value.is_none_or(|value| it.contains(value)));
            if let Some((at, _)) = found {
                return self.start.saturating_add(number(at) - 1);
            }
        }
        first.map_or_else(|| self.line_of(field), |at| self.start.saturating_add(number(at) - 1))
    }

    /// The line that a list's item or a value stands on.
    pub(super) fn line_of_item(&self, item: &str) -> u32 {
        let stands = |line: &str| {
            let value = line.trim_start().trim_start_matches("- ").trim_start_matches(['"', '\'']);
            value.strip_prefix(item).is_some_and(|rest| !rest.trim_start().starts_with([':', '|']))
        };
        match self.text.lines().position(stands) {
            Some(at) => self.start.saturating_add(number(at) - 1),
            None => self.line_of(item),
        }
    }

    /// Line and message of an error the parser reports. Its own line counts from
    /// what it was given, `skipped` lines before this document.
    pub(super) fn place(&self, message: &str, skipped: usize) -> (u32, String) {
        if let Some((text, line)) = yaml_line(message) {
            let line = line.saturating_sub(skipped).max(1);
            let line = self.start.saturating_add(number(line) - 2);
            return (line, lower_first(text.trim_end()));
        }
        let line = quoted(message).map_or(self.line, |word| self.line_of(word));
        let line = if line == self.line { self.line_of_key_in(message) } else { line };
        (line, lower_first(message))
    }

    /// The line of the first of the parser's own words that is a key of the document.
    fn line_of_key_in(&self, message: &str) -> u32 {
        let keys =
            ["level", "status", "related", "condition", "action", "detection", "sigma-version"];
        let named =
            |key: &&&str| message.to_lowercase().contains(**key) && self.text.contains(**key);
        keys.iter().find(named).map_or(self.line, |key| self.line_of(key))
    }
}

/// Splits `... at line 6 column 9` off the end of a YAML error.
fn yaml_line(message: &str) -> Option<(&str, usize)> {
    let (text, place) = message.rsplit_once(" at line ")?;
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(|line| (text, line))
}

/// The first word in quotes.
fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(['\'', '"', '`'])?;
    let (word, _) = rest.split_once(['\'', '"', '`'])?;
    Some(word).filter(|it| !it.is_empty())
}

/// Error messages begin in lower case here, unless the first word is a name.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_know_their_lines() {
        let text = "# comment\n\ntitle: a\nx: 1\n---\n# more\ntitle: b\n--- \ntitle: 'c'\n";
        let documents = split(text);
        let found: Vec<_> = documents.iter().map(|it| (it.line, it.title().unwrap())).collect();
        assert_eq!(found, [(3, "a".into()), (7, "b".into()), (9, "c".into())]);
        assert_eq!(documents[0].line_of("x"), 4);
        assert_eq!(documents[1].line_of("nowhere"), 7);
        assert!(split("# only a comment\n---\n").is_empty());
    }

    #[test]
    fn a_value_is_found_below_its_own_field() {
        let text = "title: x\nverb: replace\ndetection:\n  a:\n    name: replace\n    verb:\n      - get\n      - replace\n  b:\n    - verb: put\n";
        let document = &split(text)[0];
        let line = |value| document.line_of_value("verb", value);
        assert_eq!((line(None), line(Some("replace")), line(Some("put"))), (6, 8, 10));
        assert_eq!((line(Some("nothing")), document.line_of_value("name", None)), (6, 5));
    }

    #[test]
    fn documents_take_over_from_the_global_and_the_repeated_one() {
        let of = |word: &str| format!("action: {word}\n---\n");
        let text = ["x: 0\n---\n", &of("global"), "x: 2\n---\n", &of("repeat"), &of("repeat")];
        let text = format!("{}{}x: 6\n---\n{}x: 8\n", text.concat(), of("global"), of("reset"));
        let documents = split(&text);
        let of = |at: usize| context(&documents, at).iter().map(|it| it.line).collect::<Vec<_>>();
        assert_eq!((of(0), of(2), of(4)), (vec![], vec![3], vec![3, 5, 7]));
        assert_eq!((of(6), of(7), of(8)), (vec![11], vec![], vec![]));
    }

    #[test]
    fn the_parsers_messages_are_placed() {
        let text = "title: a\n---\ntitle: b\ndetection:\n  sel:\n    verb|re2: x\nlevel: bad\n";
        let document = &split(text)[1];
        assert_eq!(document.place("Unknown modifier 're2'", 0).0, 6);
        assert_eq!(document.place("invalid level: 'bad'", 0).0, 7);
        let (line, message) = document.place("YAML parse error: no at line 3 column 9", 0);
        assert_eq!((line, &*message), (4, "YAML parse error: no"));
    }
}
