//! What was taken out of an envelope that holds one event, and how it is decoded.

use std::ops::Range;

use crate::decode::line::line;
use crate::decode::row::{Provenance, Provider};
use crate::event::{Event, Flaw};

/// Where an event's text is.
#[derive(Debug)]
pub(super) enum Text {
    /// It is the kept bytes themselves.
    Itself,
    /// It stands in the kept bytes.
    Within(Range<usize>),
    /// It was written from what they say.
    Made(String),
}

/// An event, or another object, that was taken out of an envelope.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) text: Text,
    pub(super) provenance: Option<Provenance>,
    /// Whether the envelope says that it is an audit event.
    pub(super) assured: bool,
}

impl Taken {
    /// What is kept is what is judged, and the envelope says nothing about it.
    pub(super) fn itself() -> Taken {
        Taken { text: Text::Itself, provenance: None, assured: false }
    }

    /// Judged as it is; the envelope says why it is no audit event.
    pub(super) fn other(provider: Provider, mark: Flaw) -> Taken {
        let provenance = Provenance { provider, mark: Some(mark), ..Provenance::default() };
        Taken { text: Text::Itself, provenance: Some(provenance), assured: false }
    }

    /// An audit event that a provider wrapped.
    pub(super) fn event(text: Text, provider: Provider) -> Taken {
        let provenance = Provenance { provider, ..Provenance::default() };
        Taken { text, provenance: Some(provenance), assured: true }
    }

    /// Decodes it. `raw` are the bytes that are kept.
    pub(super) fn decode<'a>(&'a self, raw: &'a [u8]) -> (Result<Event<'a>, Flaw>, Option<usize>) {
        let (bytes, offset) = match &self.text {
            Text::Itself => (raw, Some(0)),
            Text::Within(range) => (raw.get(range.clone()).unwrap_or_default(), Some(range.start)),
            Text::Made(text) => (text.as_bytes(), None),
        };
        let mut event = line(bytes);
        if let Ok(event) = &mut event {
            event.set_raw(raw);
            if self.assured {
                event.assure();
            }
        }
        (event, offset)
    }
}

/// The text of one record that a provider hands over as a string: an event, or one whose end was cut off.
/// `None`: it is neither.
pub(super) fn record(text: &str, provider: Provider, assured: bool) -> Option<Taken> {
    if let Ok(event) = line(text.as_bytes()) {
        let is = event.is_audit() || assured;
        return is.then(|| Taken::event(Text::Made(text.to_owned()), provider));
    }
    super::truncated::salvage(text, provider)
}
