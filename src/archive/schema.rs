//! The columns of table `events`: their names, types, and which of them a skeleton leaves out.
//!
//! `schemas/events.json` is this table for other programs; a test compares the two.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};

use crate::event::Field;

/// How a column's value stands in the line it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON string; the column holds it decoded.
    Text,
    /// Any JSON value; the column holds its bytes.
    Json,
    /// A JSON array of strings.
    List,
    /// A JSON integer of 32 bits.
    Int,
    /// A JSON string `2006-01-02T15:04:05.000000Z`.
    Time,
}

/// A column that is cut out of the line: one mark byte in the skeleton stands for its value.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The column's name.
    pub name: &'static str,
    /// Where its value stands in the line.
    pub field: Field,
    /// How it stands there.
    pub form: Form,
    /// The byte that stands for it. No valid JSON text holds a control byte other than
    /// tab, line feed and carriage return, so a mark is never part of a line.
    pub mark: u8,
}

const fn cut(name: &'static str, field: Field, form: Form, mark: u8) -> Cut {
    Cut { name, field, form, mark }
}

/// Every column that is cut out of the line. A mark is never given a second meaning:
/// segments of years ago are read with this table.
pub const CUTS: [Cut; 28] = [
    cut("level", Field::Level, Form::Text, 0x01),
    cut("audit_id", Field::AuditId, Form::Text, 0x02),
    cut("stage", Field::Stage, Form::Text, 0x03),
    cut("request_uri", Field::RequestUri, Form::Text, 0x04),
    cut("verb", Field::Verb, Form::Text, 0x05),
    cut("user", Field::Username, Form::Text, 0x06),
    cut("user_uid", Field::UserUid, Form::Text, 0x07),
    cut("groups", Field::UserGroups, Form::List, 0x08),
    cut("user_extra", Field::UserExtra, Form::Json, 0x0b),
    cut("impersonated_user", Field::ImpersonatedUsername, Form::Text, 0x0c),
    cut("impersonated_groups", Field::ImpersonatedGroups, Form::List, 0x0e),
    cut("source_ips", Field::SourceIps, Form::List, 0x0f),
    cut("user_agent", Field::UserAgent, Form::Text, 0x10),
    cut("resource", Field::Resource, Form::Text, 0x11),
    cut("namespace", Field::Namespace, Form::Text, 0x12),
    cut("name", Field::Name, Form::Text, 0x13),
    cut("object_uid", Field::ObjectUid, Form::Text, 0x14),
    cut("api_group", Field::ApiGroup, Form::Text, 0x15),
    cut("api_version", Field::ObjectApiVersion, Form::Text, 0x16),
    cut("resource_version", Field::ResourceVersion, Form::Text, 0x17),
    cut("subresource", Field::Subresource, Form::Text, 0x18),
    cut("code", Field::Code, Form::Int, 0x19),
    cut("reason", Field::Reason, Form::Text, 0x1a),
    cut("request_object", Field::RequestObject, Form::Json, 0x1b),
    cut("response_object", Field::ResponseObject, Form::Json, 0x1c),
    cut("received", Field::RequestReceived, Form::Time, 0x1d),
    cut("time", Field::StageTimestamp, Form::Time, 0x1e),
    cut("annotations", Field::Annotations, Form::Json, 0x1f),
];

/// The column that holds what is left of the line.
pub const SKELETON: &str = "skeleton";

/// The first byte of a skeleton that is the whole line: it did not come back exactly
/// from its columns, or is no JSON at all.
pub const VERBATIM: u8 = 0x00;

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(fields())));

/// The stored columns of table `events`. `raw` is not among them: it is rebuilt.
pub fn events() -> SchemaRef {
    Arc::clone(&EVENTS)
}

static ARRIVING: LazyLock<SchemaRef> = LazyLock::new(|| {
    let is_json = |name: &str| CUTS.iter().any(|it| it.form == Form::Json && it.name == name);
    let arriving = fields().into_iter().filter(|it| it.name() != "seq").map(|it| match it.name() {
        name if is_json(name) => it.with_data_type(DataType::BinaryView),
        _ => it,
    });
    Arc::new(Schema::new(arriving.collect::<Vec<_>>()))
});

/// The columns of rows on their way to a part: [`events`] without the place, which they have not yet, and with
/// JSON values as views of the lines they stand in.
pub fn arriving() -> SchemaRef {
    Arc::clone(&ARRIVING)
}

fn fields() -> Vec<ArrowField> {
    let text = |name: &str| ArrowField::new(name, DataType::Utf8, true);
    let kept = |name: &str, kind: DataType| ArrowField::new(name, kind, false);
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = |name: &str| {
        let item = Arc::new(ArrowField::new("item", DataType::Utf8, false));
        ArrowField::new(name, DataType::List(item), true)
    };
    vec![
        kept("seq", DataType::Int64),
        ArrowField::new("time", time(), true),
        ArrowField::new("received", time(), true),
        kept("ingested", time()),
        kept("cluster", DataType::Utf8),
        text("audit_id"),
        text("stage"),
        text("level"),
        text("verb"),
        text("user"),
        list("groups"),
        text("user_uid"),
        text("user_extra"),
        text("impersonated_user"),
        list("impersonated_groups"),
        list("source_ips"),
        text("user_agent"),
        text("request_uri"),
        text("resource"),
        text("subresource"),
        text("api_group"),
        text("api_version"),
        text("namespace"),
        text("name"),
        text("object_uid"),
        text("resource_version"),
        ArrowField::new("code", DataType::Int32, true),
        text("reason"),
        text("decision"),
        text("decision_reason"),
        ArrowField::new("latency_us", DataType::Int64, true),
        text("annotations"),
        text("provider"),
        kept("integrity", DataType::Utf8),
        text("integrity_reason"),
        text("wrapped"),
        list("inferred"),
        text("request_object"),
        text("response_object"),
        kept(SKELETON, DataType::Binary),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_has_its_column_and_a_mark_of_its_own() {
        for (index, cut) in CUTS.iter().enumerate() {
            assert!(events().field_with_name(cut.name).is_ok(), "{}", cut.name);
            assert!(cut.mark != VERBATIM && cut.mark < 0x20, "{}", cut.name);
            assert!(!matches!(cut.mark, b'\t' | b'\n' | b'\r'), "{}", cut.name);
            assert!(CUTS[..index].iter().all(|it| it.mark != cut.mark), "{}", cut.name);
        }
    }
}
