//! The names and values of audit events that rules may use, as tables.
//!
//! `audit` has what an event itself holds, `names` what else leads to it, `pods`
//! where a pod's spec lies, `words` the values that are a closed or a well-known
//! set. `meaning` says what a name stands for, `file` writes it all down as
//! `schemas/taxonomy.yaml`.
//!
//! **Invariant:** the tables are the only source. `docs/taxonomy.md` and the file
//! under `schemas` show them; tests keep all three alike.

mod audit;
mod file;
mod meaning;
mod names;
mod pods;
mod words;

pub(super) use self::audit::{ANNOTATIONS, AuditField, FIELDS};
pub use self::file::taxonomy;
pub(super) use self::meaning::{Ecs, Meaning, close, ecs, meaning, mistake_below, nearest_name};
pub(super) use self::names::{DERIVED, DERIVED_PREFIX, ECS, ECS_PREFIX, LOOSE, READ_AS, values_of};
pub(super) use self::pods::{ANY_CONTAINER, CONTAINERS, POD_SPEC, POD_SPECS};
pub(super) use self::words::{FIELD_MISTAKES, VALUE_MISTAKES, group_hint, resource_hint};
pub(super) use super::needs::AuditLevel;

/// The stages whose events carry a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stages {
    /// All of them.
    Every,
    /// All but `RequestReceived`: nothing has been decided or decoded by then.
    Answered,
}
