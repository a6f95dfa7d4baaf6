//! Which of the shipped rules are loaded, as a user writes it.

use std::fmt;
use std::str::FromStr;

/// How much of the shipped rules. Each has what stands before it, and more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// What is hardly ever anything but an attack.
    Minimal,
    /// What a healthy cluster does not do: quiet enough to be sent to people.
    #[default]
    Standard,
    /// With the records of access that a review asks for; not to be sent, but to be reported on.
    Hipaa,
    /// Everything, for a hunt: also what is often harmless.
    Paranoid,
}

/// No profile has that name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no profile; it is one of minimal, standard, hipaa, paranoid")]
pub struct ProfileError(String);

impl Profile {
    /// Every profile, from the smallest.
    pub const ALL: [Profile; 4] =
        [Profile::Minimal, Profile::Standard, Profile::Hipaa, Profile::Paranoid];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Minimal => "minimal",
            Profile::Standard => "standard",
            Profile::Hipaa => "hipaa",
            Profile::Paranoid => "paranoid",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Profile, ProfileError> {
        let named = Profile::ALL.into_iter().find(|it| it.as_str() == text);
        named.ok_or_else(|| ProfileError(text.to_owned()))
    }
}
