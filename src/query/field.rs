//! The names a search may use for a column: the column's own, Kubernetes' path, a short form.
//!
//! One rule: a name means one column, whatever its case.

use std::sync::LazyLock;

use arrow::datatypes::DataType;

use crate::archive::schema;

/// The line as it arrived: a column of every answer, and no stored one.
pub const RAW: &str = "raw";

/// The line's bytes, exact also where they are no UTF-8.
pub const RAW_BYTES: &str = "raw_bytes";

/// What a column holds, as far as a search tells kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Any number of texts; a test holds when one of them passes.
    List,
    /// A whole number.
    Int,
    /// A moment.
    Time,
}

/// A column a search can name.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in table `events`.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// Short forms, and Kubernetes' names that are no path of a cut column.
const ALIASES: [(&str, &str); 13] = [
    ("ip", "source_ips"),
    ("ips", "source_ips"),
    ("group", "groups"),
    ("ns", "namespace"),
    ("uri", "request_uri"),
    ("agent", "user_agent"),
    ("username", "user"),
    ("line", RAW),
    ("impersonatedUser", "impersonated_user"),
    ("annotations.authorization.k8s.io/decision", "decision"),
    ("annotations.authorization.k8s.io/reason", "decision_reason"),
    ("annotations.authorization\\.k8s\\.io/decision", "decision"),
    ("annotations.authorization\\.k8s\\.io/reason", "decision_reason"),
];

/// How unlike a name may be to be offered in place of an unknown one.
const LIKENESS_MIN: f64 = 0.72;

static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let stored = schema::events();
    let mut columns: Vec<Column> = stored
        .fields()
        .iter()
        .filter(|field| field.name() != schema::SKELETON)
        .map(|field| Column { name: field.name().clone(), kind: kind(field.data_type()) })
        .collect();
    columns.push(Column { name: RAW.to_owned(), kind: Kind::Text });
    columns
});

static NAMES: LazyLock<Vec<(String, &'static Column)>> = LazyLock::new(|| {
    let columns: &'static [Column] = &COLUMNS;
    let own = columns.iter().map(|it| (it.name.as_str(), it.name.as_str()));
    let paths = schema::CUTS.iter().map(|cut| (cut.field.path(), cut.name));
    let mut names: Vec<(String, &'static Column)> = Vec::new();
    for (name, target) in own.chain(ALIASES).chain(paths) {
        let known = names.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
        if let Some(column) = columns.iter().find(|it| it.name == target)
            && !known
        {
            names.push((name.to_owned(), column));
        }
    }
    names
});

/// The columns a search can name, in the table's order, `raw` last.
pub fn columns() -> &'static [Column] {
    &COLUMNS
}

/// The column of that name, path or short form.
pub fn find(name: &str) -> Option<&'static Column> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, column)| *column)
}

/// The known name most like `name`, if any is like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    NAMES
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(&known.to_ascii_lowercase(), &name), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.as_str())
}

fn kind(stored: &DataType) -> Kind {
    match stored {
        DataType::List(_) => Kind::List,
        DataType::Int32 | DataType::Int64 => Kind::Int,
        DataType::Timestamp(_, _) => Kind::Time,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<&'static str> {
        find(name).map(|it| it.name.as_str())
    }

    #[test]
    fn kubernetes_names_and_short_forms_mean_their_columns() {
        for (name, column) in [
            ("verb", "verb"),
            ("auditID", "audit_id"),
            ("objectRef.resource", "resource"),
            ("user.username", "user"),
            ("user", "user"),
            ("responseStatus.code", "code"),
            ("sourceips", "source_ips"),
            ("userAgent", "user_agent"),
            ("requestURI", "request_uri"),
            ("stageTimestamp", "time"),
            ("ip", "source_ips"),
            ("raw", "raw"),
        ] {
            assert_eq!(named(name), Some(column), "{name}");
        }
        assert_eq!(named("skeleton"), None);
    }

    #[test]
    fn every_cut_column_goes_by_its_path() {
        for cut in &schema::CUTS {
            assert_eq!(named(cut.field.path()), Some(cut.name), "{}", cut.field.path());
        }
    }

    #[test]
    fn the_nearest_name_is_offered_and_nonsense_is_not() {
        assert_eq!(nearest("resorce"), Some("resource"));
        assert_eq!(nearest("namspace"), Some("namespace"));
        assert_eq!(nearest("zzz"), None);
    }
}
