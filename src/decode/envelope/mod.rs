//! A line that is no audit event itself -> the events in it: one that a provider wrapped, several in a
//! list, packed ones, one in the API server's text format, one whose end was cut off.
//!
//! One rule: a field is put into an event only if the envelope tells it. What it tells in other
//! words is listed as inferred; what it does not tell is absent. docs/envelopes.md has the table.

mod aks;
mod eks;
mod gke;
mod json;
mod legacy;
mod list;
mod native;
mod opener;
mod packed;
mod prefix;
mod request;
mod taken;
mod truncated;

pub use opener::{Opened, open, stored, texts};
pub use packed::UNPACKED_BYTES_MAX;

/// Stands for a member in the row of a list. No JSON text holds it.
pub(super) const ITEM: u8 = 0x1e;

/// Envelopes in envelopes that are opened. A list of deliveries of lists has three.
const DEPTH_MAX: usize = 4;

/// Members of all lists of one line that get rows. Providers hand over some thousands at most.
const ITEMS_MAX: usize = 100_000;
