//! Paths of a command line -> the rules that are good, and what is wrong with the others.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::shared::PlaceholderArgs;
use crate::detect::trial;
use crate::rules::{self, LoadOptions, Loaded, Profile};

/// Loads what is good under the paths, or the shipped rules, and keeps what is to be said of the
/// rest. `rules/*` of a shell names the tests beside the rules as well: they are no rules.
pub(super) fn lenient(paths: &[PathBuf], placeholders: &PlaceholderArgs) -> Result<Loaded> {
    let is_test = |it: &PathBuf| {
        it.file_name()
            .is_some_and(|it| it.to_string_lossy().ends_with(&format!(".{}", trial::ENDING)))
    };
    let given: Vec<PathBuf> = paths.iter().filter(|it| !is_test(it)).cloned().collect();
    let shipped = paths.is_empty().then_some(Profile::Paranoid);
    let placeholders = placeholders.read()?;
    Ok(rules::load(
        &given,
        &LoadOptions { lenient: true, shipped, placeholders, ..LoadOptions::default() },
    )?)
}
