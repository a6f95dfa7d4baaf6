//! What a rule says that works and cannot mean what its author wants: a field that no
//! audit event has, a value that a field never takes, a field that is missing in the
//! very events the rule asks for.
//!
//! `rule` judges a rule, `value` the values of one field, `stage` what its stage and
//! level leave of an event.
//!
//! **Invariant:** advice never changes what a rule matches.

mod rule;
mod stage;
mod value;

pub(super) use self::rule::advise;

/// Whose events a rule is for, by its log source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// It says Kubernetes.
    Kubernetes,
    /// It does not say.
    Unstated,
    /// It says something else.
    Other,
}

/// One advice, and the words of the rule that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) field: String,
    pub(super) value: Option<String>,
    pub(super) advice: Advice,
}

/// What is wrong, and what is probably meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Advice {
    #[error("no field of it is a field of an audit event")]
    Foreign,
    #[error("no audit event has the field \"{field}\"{}", meant(hint.as_deref()))]
    NoSuchField { field: String, hint: Option<String> },
    #[error("\"{field}\" is an object, which no value equals{}", meant(hint.as_deref()))]
    AnObject { field: String, hint: Option<String> },
    #[error("\"{field}\" of an audit event is never \"{value}\"{hint}")]
    NeverSo { field: String, value: String, hint: String },
    #[error(
        "\"{field}\" is missing in every audit event of {given}, and the rule asks for no other"
    )]
    Missing { field: String, given: String },
}

/// The end of a message, when it is known what is meant.
fn meant(hint: Option<&str>) -> String {
    crate::config::hint(hint)
}
