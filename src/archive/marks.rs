//! Columns of events -> short hashes that say where to look for an event that came before.
//!
//! One rule: a mark is never proof. Two events with one mark may differ, so whoever finds a mark
//! again compares the leaves. The marks of rows that arrive and of rows that are read back are made by the same
//! code from the same columns.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, Int32Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::event::Integrity;

/// The mark of a row that no content identifies: no audit event, or one without a stage time.
pub const NONE: u64 = 0;

/// The columns that a mark is made of, and the time.
pub(super) const MARK_COLUMNS: [&str; 3] = ["time", "audit_id", "stage"];

/// The columns that say who did what.
const GIST_TEXTS: [&str; 5] = ["user", "verb", "request_uri", "user_agent", "impersonated_user"];

/// The columns that a gist is made of, and the time.
pub(super) const GIST_COLUMNS: [&str; 10] = [
    "time",
    "audit_id",
    "stage",
    "user",
    "verb",
    "request_uri",
    "user_agent",
    "impersonated_user",
    "source_ips",
    "code",
];

/// Another one in each process: who chooses audit IDs cannot choose their marks.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The columns of [`MARK_COLUMNS`] of one batch.
pub struct Marks<'b> {
    times: &'b TimestampMicrosecondArray,
    audit_ids: &'b StringArray,
    stages: &'b StringArray,
}

impl<'b> Marks<'b> {
    /// Takes them out of a batch, by name.
    ///
    /// # Errors
    /// When one of them is missing or has another type.
    pub fn new(batch: &'b RecordBatch) -> Result<Marks<'b>, ArrowError> {
        let times = column(batch, "time")?.as_primitive_opt::<TimestampMicrosecondType>();
        Ok(Marks {
            times: times.ok_or_else(|| wrong_type("time"))?,
            audit_ids: text(batch, "audit_id")?,
            stages: text(batch, "stage")?,
        })
    }

    /// The mark of every row: of its cluster, audit ID and stage; [`NONE`] where one of these or
    /// the stage time is missing.
    pub fn of_rows(&self, cluster: &str) -> Vec<u64> {
        let rows = self.times.iter().zip(self.audit_ids).zip(self.stages);
        rows.map(|((time, id), stage)| match (time, id, stage) {
            (Some(_), Some(id), Some(stage)) => SEED.hash_one((cluster, id, stage)).max(1),
            _ => NONE,
        })
        .collect()
    }

    /// The stage times, µs; of no meaning where the mark is [`NONE`].
    pub fn times(&self) -> &'b [i64] {
        self.times.values()
    }

    /// The stage times of the rows that have one, µs.
    pub fn stage_times(&self) -> impl Iterator<Item = i64> + use<'b> {
        self.times.iter().flatten()
    }

    /// The audit ID and the stage of a row with a mark.
    pub fn named(&self, row: usize) -> (&'b str, &'b str) {
        (self.audit_ids.value(row), self.stages.value(row))
    }
}

/// The columns that say who did what, of one batch.
pub struct Gists<'b> {
    texts: [&'b StringArray; GIST_TEXTS.len()],
    source_ips: &'b ListArray,
    codes: &'b Int32Array,
}

impl<'b> Gists<'b> {
    /// Takes them out of a batch, by name.
    ///
    /// # Errors
    /// When one of them is missing or has another type.
    pub fn new(batch: &'b RecordBatch) -> Result<Gists<'b>, ArrowError> {
        let [user, verb, uri, agent, impersonated] = GIST_TEXTS;
        let of = |name| text(batch, name);
        let source_ips = column(batch, "source_ips")?.as_list_opt();
        let codes = column(batch, "code")?.as_primitive_opt::<Int32Type>();
        Ok(Gists {
            texts: [of(user)?, of(verb)?, of(uri)?, of(agent)?, of(impersonated)?],
            source_ips: source_ips.ok_or_else(|| wrong_type("source_ips"))?,
            codes: codes.ok_or_else(|| wrong_type("code"))?,
        })
    }

    /// The mark and who did what, as one hash: the same for an event that came in other bytes, as
    /// from the log and by the webhook.
    pub fn of(&self, row: usize, mark: u64) -> u64 {
        let mut hasher = SEED.build_hasher();
        mark.hash(&mut hasher);
        for column in self.texts {
            column.is_valid(row).then(|| column.value(row)).hash(&mut hasher);
        }
        self.codes.is_valid(row).then(|| self.codes.value(row)).hash(&mut hasher);
        if self.source_ips.is_valid(row) {
            let members = self.source_ips.value(row);
            let members = members.as_string_opt::<i32>();
            members.into_iter().flatten().for_each(|it| it.hash(&mut hasher));
        }
        hasher.finish()
    }

    /// The user, the verb and the URI of a row.
    pub fn told(&self, row: usize) -> [Option<&'b str>; 3] {
        let [user, verb, uri, ..] = self.texts;
        [user, verb, uri].map(|it| it.is_valid(row).then(|| it.value(row)))
    }
}

/// Whether each row is what events came in.
///
/// # Errors
/// When the column is missing or has another type.
pub fn envelopes(batch: &RecordBatch) -> Result<Vec<bool>, ArrowError> {
    let word = Integrity::Envelope.as_str();
    Ok(text(batch, "integrity")?.iter().map(|it| it == Some(word)).collect())
}

fn column<'b>(
    batch: &'b RecordBatch,
    name: &str,
) -> Result<&'b arrow::array::ArrayRef, ArrowError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

fn text<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b StringArray, ArrowError> {
    column(batch, name)?.as_string_opt().ok_or_else(|| wrong_type(name))
}

fn wrong_type(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} has another type"))
}
