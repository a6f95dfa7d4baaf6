//! Finds, for one event, the few rules that could match it.
//!
//! Most rules demand something of a field: a verb, a resource, a piece of the user agent. `demand`
//! derives from a rule's compiled expression what an event must have if the rule is to match;
//! `index` sorts all rules by that into a decision tree, which an event walks from the top; `key`
//! says which words an event has, once each, and only where the tree asks, which `recent` spares where
//! a value repeats; and `alike` spares the walk where an event repeats in all that the walk asks for.
//!
//! **Invariant:** the candidates may be too many rules, never too few. What is not understood
//! demands nothing.

mod alike;
mod asked;
mod demand;
mod index;
mod key;
mod recent;
mod share;
mod told;
mod word;

#[cfg(test)]
mod tests;

pub use asked::{Asked, Known, Open};
pub(super) use index::Prefilter;
pub(super) use key::Memory;
pub(super) use told::told;
