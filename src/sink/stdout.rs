//! The process's own standard output: for a person at a terminal, or a log collector.
//!
//! A crash between the write and the outbox's note of it writes the message twice; the finding's
//! id tells the reader.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, TryLockError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DeliverError, Delivery, Kind, Message, Pace, Sink, WhyNot};
use crate::alert::render;
use crate::config::Settings;

pub(super) const KIND: Kind = Kind {
    name: "stdout",
    example: "{ kind: stdout, min_level: medium, format: ndjson }",
    schema: || schemars::schema_for!(Own).to_value(),
    build,
};

/// The settings of kind `stdout`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Own {
    /// How a finding is written. Default: auto.
    format: Format,
}

/// How a finding is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Human on a terminal, NDJSON elsewhere.
    #[default]
    Auto,
    /// Two lines for a person.
    Human,
    /// One JSON object a line, as `kustos detect` prints it.
    Ndjson,
}

/// How a batch is written, once it is known where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One JSON object a line.
    Ndjson,
    /// Two lines for a person.
    Human { color: bool },
}

struct Stdout {
    style: Style,
    /// Held while a batch is written. A reader that does not read holds up this sink only.
    writing: Arc<Mutex<()>>,
}

fn build(settings: &Settings) -> Result<Box<dyn Sink>, WhyNot> {
    let own: Own = settings.read()?;
    let terminal = std::io::stdout().is_terminal();
    let human = Style::Human { color: terminal };
    let style = match own.format {
        Format::Auto if terminal => human,
        Format::Human => human,
        Format::Auto | Format::Ndjson => Style::Ndjson,
    };
    Ok(Box::new(Stdout { style, writing: Arc::default() }))
}

impl Sink for Stdout {
    fn deliver<'a>(&'a self, batch: &'a [Message]) -> Delivery<'a> {
        let text = text(batch, self.style);
        let writing = Arc::clone(&self.writing);
        Box::pin(async move {
            // Writing blocks as long as the reader does, so it does not run on the runtime.
            let wrote = tokio::task::spawn_blocking(move || write(&text, &writing)).await;
            wrote.unwrap_or_else(|panic| Err(retry(&panic)))
        })
    }

    fn pace(&self) -> Pace {
        // In order, and many at once: one write call costs as much as a hundred lines.
        Pace { batch_max: 100, calls_max: 1 }
    }
}

fn text(batch: &[Message], style: Style) -> String {
    let mut text = String::new();
    for message in batch {
        match style {
            Style::Human { color } => text.push_str(&render::body(&message.body, color)),
            Style::Ndjson => text.push_str(&message.body),
        }
        text.push('\n');
    }
    text
}

fn write(text: &str, writing: &Mutex<()>) -> Result<(), DeliverError> {
    // An earlier batch that is still being written was given up by the outbox, but its thread
    // is not: a second one would only wait behind it.
    let held = match writing.try_lock() {
        Ok(held) => held,
        Err(TryLockError::Poisoned(held)) => held.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(retry(&"nobody reads standard output")),
    };
    let mut out = std::io::stdout().lock();
    let wrote = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    drop(held);
    wrote.map_err(|error| retry(&error))
}

fn retry(why: &dyn std::fmt::Display) -> DeliverError {
    DeliverError::Retry { after: None, why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_line_each_or_two_for_a_person() {
        let body = r#"{"id":"f","rule":{"id":"r","level":"high"},"event":{"verb":"get"}}"#;
        let message = Message { id: "f.s".into(), finding: "f".into(), body: body.into() };
        let batch = [message.clone(), message];
        assert_eq!(text(&batch, Style::Ndjson), format!("{body}\n{body}\n"));
        assert_eq!(text(&batch, Style::Human { color: false }).lines().count(), 4);
    }
}
