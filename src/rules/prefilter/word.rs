//! The words rules ask for.

/// What an event may have under a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// The field is missing or `null`.
    Absent,
    /// The field is there; it may be `null`.
    Present,
    /// A value is this text, in lower case.
    Text(String),
    /// A value is this number, given by its bits; zero has no sign.
    Number(u64),
    /// A value has this text in it, in lower case.
    Contains(String),
    /// A value begins with it.
    Starts(String),
    /// A value ends with it.
    Ends(String),
}

impl Word {
    pub(super) fn number(number: f64) -> Word {
        // Adding zero takes the sign off a negative zero, which equals the other.
        Word::Number((number + 0.0).to_bits())
    }
}
