//! What becomes one row of the archive: the bytes that are kept and the event in them.

use crate::event::{Event, Field, Flaw};

/// Whose envelope an event came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// None: an API server's own log, text or webhook.
    #[default]
    Kubernetes,
    /// Amazon, by way of CloudWatch.
    Eks,
    /// Google Cloud Logging.
    Gke,
    /// Azure Monitor.
    Aks,
    /// `oc adm node-logs`.
    Openshift,
}

impl Provider {
    /// The word in the `provider` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Kubernetes => "kubernetes",
            Provider::Eks => "eks",
            Provider::Gke => "gke",
            Provider::Aks => "aks",
            Provider::Openshift => "openshift",
        }
    }
}

/// How a row stands to the line it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wrapped {
    /// It is the line.
    #[default]
    Alone,
    /// It is the line, or a member of one, with the byte [`ITEM`](super::envelope::ITEM) in place of each
    /// of its members, which follow as rows.
    List,
    /// It is a member of the list before it.
    Item,
    /// It is the line, or a member of one, with what is packed in it; that follows as rows.
    Packed,
    /// It was unpacked from the row before it, which holds it as it arrived.
    Unpacked,
}

impl Wrapped {
    /// The word in the `wrapped` column.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Wrapped::Alone => None,
            Wrapped::List => Some("list"),
            Wrapped::Item => Some("item"),
            Wrapped::Packed => Some("packed"),
            Wrapped::Unpacked => Some("unpacked"),
        }
    }

    /// Whether it is what events came in, and no event.
    pub fn is_envelope(self) -> bool {
        matches!(self, Wrapped::List | Wrapped::Packed)
    }
}

/// Where an event's fields come from, when they do not all stand in it as the API server wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// Whose envelope it was.
    pub provider: Provider,
    /// Fields that are told in the envelope in other words. Fields that are not told are absent.
    pub inferred: Vec<Field>,
    /// Whether its end was cut off and the fields before the cut were salvaged.
    pub truncated: bool,
    /// Why it is no audit event, by what the envelope says.
    pub mark: Option<Flaw>,
}

/// One row: what is kept, and the event in it.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The bytes that are kept.
    pub raw: &'a [u8],
    /// The event, or why there is none.
    pub event: Result<Event<'a>, Flaw>,
    /// Where the event's text begins in the bytes; `None`: it does not stand there as it is.
    pub offset: Option<usize>,
    /// How the row stands to its line.
    pub wrapped: Wrapped,
    /// Where its fields come from; `None`: they are the API server's.
    pub provenance: Option<&'a Provenance>,
}

impl<'a> Row<'a> {
    /// A line that is kept as it is.
    pub fn plain(raw: &'a [u8], event: Result<Event<'a>, Flaw>) -> Row<'a> {
        Row { raw, event, offset: Some(0), wrapped: Wrapped::Alone, provenance: None }
    }

    /// Why it is no audit event; `None`: it is one, or what events came in.
    pub fn flaw(&self) -> Option<Flaw> {
        match &self.event {
            _ if self.wrapped.is_envelope() => None,
            Err(flaw) => Some(*flaw),
            Ok(event) if event.is_audit() => None,
            Ok(_) => Some(self.provenance.and_then(|it| it.mark).unwrap_or(Flaw::NotAnEvent)),
        }
    }

    /// Whether parts of the event were cut out or off.
    pub fn truncated(&self) -> bool {
        self.provenance.is_some_and(|it| it.truncated)
            || self.event.as_ref().is_ok_and(Event::truncated)
    }

    /// Whether the field is told in other words than the API server's.
    pub fn inferred(&self, field: Field) -> bool {
        self.provenance.is_some_and(|it| it.inferred.contains(&field))
    }
}
