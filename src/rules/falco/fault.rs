//! What can be wrong with a Falco file, and what is worth a warning.
//!
//! Where Falco has words of its own for it, they stand here as they are, with their
//! capitals and full stops: people search for them.

use super::condition::{ConditionFault, DEPTH_MAX};
use super::document::ENTRIES_MAX;
use super::expand::{CONDITION_BYTES_MAX, CONDITIONS_BYTES_MAX, LIST_ITEMS_MAX};

/// An error or a warning about a list, macro or rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum FalcoFault {
    // The file.
    #[error("{0}")]
    Yaml(String),
    #[error("a Falco rule file is a list of rules, macros and lists")]
    NoList,
    #[error("more than {ENTRIES_MAX} entries in one file")]
    Entries,
    #[error("an entry is no mapping of keys to values")]
    NoMapping,
    #[error("Unknown top level item: none of rule, macro, list or a requirement")]
    UnknownEntry,

    // Keys and their values.
    #[error("Unknown key '{0}'. The key will be ignored.")]
    UnknownKey(String),
    #[error("Item has no mapping for key '{0}'")]
    Missing(&'static str),
    #[error("Mapping for key '{0}' is empty")]
    Empty(&'static str),
    #[error("the value of '{0}' is no {1}")]
    Kind(&'static str, &'static str),
    #[error("'{0}' stands with 'append: true' and is ignored; name it under 'override' instead")]
    Ignored(&'static str),
    #[error(
        "invalid priority '{0}': one of emergency, alert, critical, error, warning, notice, informational, debug"
    )]
    Priority(String),
    #[error(
        "List has an invalid name. List names should match a regular expression: ([^()\"'[:space:]=,]+)"
    )]
    ListName,
    #[error(
        "Macro has an invalid name. Macro names should match a regular expression: ([a-zA-Z]+[a-zA-Z0-9_]*)"
    )]
    MacroName,

    // Requirements.
    #[error(
        "Unable to parse engine version '{0}' as a semver string. Expected \"x.y.z\" semver format."
    )]
    EngineVersion(String),
    #[error("Invalid required version '{version}' for plugin '{plugin}'")]
    PluginVersion { plugin: String, version: String },
    #[error("Defined multiple alternative version requirements for plugin '{0}'")]
    PluginTwice(String),

    // Append and override.
    #[error(
        "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
    )]
    AppendDeprecated,
    #[error(
        "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' entry under the 'override' key (i.e. 'enabled: replace')."
    )]
    EnabledDeprecated,
    #[error(
        "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
    )]
    OverrideAndAppend,
    #[error("Key '{0}' cannot be appended to, use 'replace' instead")]
    NotAppendable(String),
    #[error("Key '{0}' cannot be replaced")]
    NotReplaceable(String),
    #[error(
        "Invalid override operation for key '{key}': '{operation}'. Allowed values are: append replace"
    )]
    Operation { key: String, operation: String },
    #[error("An {operation} override for '{key}' was specified but '{key}' is not defined")]
    NothingToOverride { operation: &'static str, key: &'static str },
    #[error("Unexpected key '{0}': no corresponding entry under 'override' is defined.")]
    UnexpectedKey(&'static str),
    #[error("Appended rule must have exceptions or condition property")]
    NothingAppended,
    #[error(
        "List uses 'append' or 'override.items: append' but no list by that name already exists"
    )]
    NoListToAppend,
    #[error(
        "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists"
    )]
    NoMacroToAppend,
    #[error(
        "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"
    )]
    NoRuleToAppend,
    #[error(
        "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"
    )]
    NoRuleToReplace,
    #[error("Rule has 'enabled' key but no rule by that name already exists")]
    NoRuleToEnable,
    #[error("Rule has been re-defined with a different source")]
    OtherSource,

    // Exceptions; the first is the exception's name.
    #[error("Multiple definitions of exception '{0}' in the same rule")]
    ExceptionTwice(String),
    #[error("Overriding/appending exception with no values: '{0}'")]
    ExceptionWithoutValues(String),
    #[error("exception '{0}': {1}")]
    Exception(String, ExceptionFault),

    // Conditions.
    #[error("{0}")]
    Condition(ConditionFault),
    #[error("Undefined macro '{name}' used in filter.{}", meant(.nearest.as_deref()))]
    UndefinedMacro { name: String, nearest: Option<String> },
    #[error("reference loop in macro '{0}'")]
    MacroLoop(String),
    #[error("{0} \"{1}\" is broken, and this uses it")]
    UsesBroken(&'static str, String),
    #[error("macros and lists are nested deeper than {DEPTH_MAX}")]
    Deep,
    #[error("list \"{0}\" has more than {LIST_ITEMS_MAX} items, those of the lists in it included")]
    ListItems(String),
    #[error(
        "the condition is longer than {CONDITION_BYTES_MAX} bytes with its macros and lists put in"
    )]
    ConditionBytes,
    #[error(
        "all conditions together are longer than {CONDITIONS_BYTES_MAX} bytes with their macros and lists put in"
    )]
    ConditionsBytes,

    // What is good and probably not meant.
    #[error("{0}; the rule is left out, as 'skip-if-unknown-filter' asks")]
    Skipped(String),
    #[error("{0}")]
    Caution(String),
    #[error("not referred to by any other rule/macro")]
    Unused,
    #[error("the rule is for source {0}, which kustos does not read; it never matches")]
    OtherSourceRule(String),
    #[error("'{0}' may be a valid field misused as a const string value")]
    FieldAsValue(String),
    #[error("'{0}' may be a valid field transformer misused as a const string value")]
    TransformerAsValue(String),
    #[error(
        "comparing with \"<NA>\" is unsafe: a field that has no value is equal to nothing; use \"exists\""
    )]
    UnsafeNa,
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(" Did you mean '{name}'?"))
}

/// What can be wrong with an exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum ExceptionFault {
    #[error("Fields and comps lists must have equal length")]
    CompsLength,
    #[error("Fields and values lists must have equal length")]
    ValuesLength,
    #[error("'{0}' is not a supported comparison operator")]
    Operator(String),
    #[error("Fields and comps must both be strings")]
    BothStrings,
    #[error(
        "When fields is a single value, comps must be one of (in, pmatch, intersects) or a modifier operator (e.g. startswith oneof)"
    )]
    SingleOperator,
    #[error("Expected values array to contain a list of strings")]
    StringsOnly,
    #[error("Rule exception item must have fields property with a list of fields")]
    NoFields,
    #[error("Rule exception must have values property with a list of values")]
    NoValues,
    #[error("Can not append exception fields to existing exception, only values")]
    AppendedFields,
    #[error("Can not append exception comps to existing exception, only values")]
    AppendedComps,
}
