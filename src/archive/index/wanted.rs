//! What a question asks of the fields that are in the index, and which segments of a run may have it.
//!
//! One rule: what is wanted is never more than what the question demands. Whoever does not know what a
//! condition demands leaves it out.

use twox_hash::XxHash64;

use super::run::Found;

/// The columns whose values are in the index; of a list, each member. A field's place here is a part of its hashes:
/// it is never given to another one.
pub const FIELDS: [&str; 5] = ["audit_id", "user", "resource", "namespace", "source_ips"];

/// A question that asks for more values than this is not narrowed: each is looked up in each run.
pub const HASHES_MAX: usize = 256;

/// Added to a field's place where the value is absent.
const ABSENT: u64 = 1 << 8;

/// The place of an indexed column in [`FIELDS`].
pub fn index_field(column: &str) -> Option<u64> {
    FIELDS.iter().zip(0..).find(|(name, _)| **name == column).map(|(_, place)| place)
}

/// The hash of a field's value, `None` where it is absent: XXH64 of its bytes, the field's place as the seed.
pub fn hash_of(field: u64, value: Option<&str>) -> u64 {
    match value {
        Some(text) => XxHash64::oneshot(field, text.as_bytes()),
        None => XxHash64::oneshot(field | ABSENT, &[]),
    }
}

/// What an event must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The value with this hash.
    Value(u64),
    /// One of these.
    Any(Vec<Wanted>),
    /// All of these.
    All(Vec<Wanted>),
}

impl Wanted {
    /// One of some values of a column, `None` where it is absent. `None`: the column is not in the index.
    pub fn of<'v>(
        column: &str,
        values: impl IntoIterator<Item = Option<&'v str>>,
    ) -> Option<Wanted> {
        let field = index_field(column)?;
        let mut values: Vec<Wanted> =
            values.into_iter().map(|it| Wanted::Value(hash_of(field, it))).collect();
        match values.len() {
            1 => values.pop(),
            _ => Some(Wanted::Any(values)),
        }
    }

    /// Both of these, as far as they are known.
    pub fn both(one: Option<Wanted>, other: Option<Wanted>) -> Option<Wanted> {
        match (one, other) {
            (Some(Wanted::All(mut all)), Some(other)) => {
                all.push(other);
                Some(Wanted::All(all))
            }
            (Some(one), Some(other)) => Some(Wanted::All(vec![one, other])),
            (one, other) => one.or(other),
        }
    }

    /// One of these; not known as soon as one of them is not.
    pub fn either(one: Option<Wanted>, other: Option<Wanted>) -> Option<Wanted> {
        match (one?, other?) {
            (Wanted::Any(mut any), other) => {
                any.push(other);
                Some(Wanted::Any(any))
            }
            (one, other) => Some(Wanted::Any(vec![one, other])),
        }
    }

    /// How many values it asks for.
    pub fn hashes(&self) -> usize {
        match self {
            Wanted::Value(_) => 1,
            Wanted::Any(parts) | Wanted::All(parts) => parts.iter().map(Wanted::hashes).sum(),
        }
    }

    /// The places of the segments that may have it, in order. `find` gives those that may hold a value.
    pub(super) fn places<E>(
        &self,
        find: &mut impl FnMut(u64) -> Result<Found, E>,
    ) -> Result<Found, E> {
        match self {
            Wanted::Value(hash) => find(*hash),
            Wanted::Any(parts) => {
                let mut any = Found::new();
                for part in parts {
                    any.extend(part.places(find)?);
                }
                any.sort_unstable();
                any.dedup();
                Ok(any)
            }
            Wanted::All(parts) => {
                let mut parts = parts.iter();
                let Some(first) = parts.next() else { return Ok(Found::new()) };
                let mut all = first.places(find)?;
                for part in parts {
                    if all.is_empty() {
                        break;
                    }
                    let more = part.places(find)?;
                    all.retain(|it| more.binary_search(it).is_ok());
                }
                Ok(all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Wanted> {
        Wanted::of("user", [Some(text)])
    }

    #[test]
    fn a_hash_is_the_same_in_every_version() {
        assert_eq!(hash_of(0, Some("")), 0xef46_db37_51d8_e999);
        let hashes = [hash_of(1, Some("bob")), hash_of(2, Some("bob")), hash_of(1, None)];
        let pinned =
            [8_592_186_673_509_150_573, 11_226_675_241_364_570_708, 12_801_838_352_681_112_328];
        assert_eq!(hashes, pinned);
    }

    #[test]
    fn what_is_not_known_narrows_no_alternative() {
        assert_eq!(Wanted::either(value("a"), None), None);
        assert_eq!(Wanted::both(value("a"), None), value("a"));
        assert_eq!(Wanted::of("verb", [Some("get")]), None);
    }

    #[test]
    fn places_are_joined_as_the_conditions_are() {
        let places = |wanted: Option<Wanted>| {
            let mut find = |hash: u64| -> Result<Found, ()> {
                let of = |text| hash == hash_of(1, Some(text));
                Ok(if of("a") {
                    vec![1, 3]
                } else if of("b") {
                    vec![2, 3]
                } else {
                    vec![]
                })
            };
            wanted.unwrap().places(&mut find).unwrap()
        };
        assert_eq!(places(Wanted::either(value("a"), value("b"))), [1, 2, 3]);
        assert_eq!(places(Wanted::both(value("a"), value("b"))), [3]);
        assert_eq!(places(Wanted::of("user", ["a", "b", "c"].map(Some))), [1, 2, 3]);
        let none = Wanted::both(value("c"), value("a"));
        assert_eq!(places(Wanted::either(none.clone(), value("b"))), [2, 3]);
        assert!(places(none).is_empty());
    }
}
