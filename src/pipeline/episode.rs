//! A state that lasts -> when it began, also over restarts.
//!
//! One rule: its beginning is recorded before it is told, so that whoever finds it again tells the same finding.

use super::intake::SourceName;
use crate::archive::catalog::{Catalog, CatalogError};

/// A state of one source, and since when it is in it.
#[derive(Debug)]
pub(super) struct Episode {
    key: String,
    began: Option<String>,
}

impl Episode {
    /// What is recorded of that state of a source.
    pub(super) fn of(
        catalog: &Catalog,
        state: &str,
        name: &SourceName,
    ) -> Result<Episode, CatalogError> {
        let key = format!("{state}:{}:{}", name.cluster, name.name);
        let began = catalog.meta(&key)?.filter(|it| !it.is_empty());
        Ok(Episode { key, began })
    }

    /// The source is in that state: when that began, `now` if it is news.
    pub(super) fn begin(&mut self, catalog: &Catalog, now: i64) -> Result<String, CatalogError> {
        if let Some(began) = &self.began {
            return Ok(began.clone());
        }
        let began = now.to_string();
        catalog.set_meta(&self.key, &began)?;
        self.began = Some(began.clone());
        Ok(began)
    }

    /// The source is not in that state any more.
    pub(super) fn end(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        if self.began.is_some() {
            catalog.set_meta(&self.key, "")?;
            self.began = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_goes_on_over_restarts_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let name = SourceName { cluster: "c".into(), name: "audit.log".into() };
        let begin = |now| {
            let mut episode = Episode::of(&catalog, "headroom", &name).unwrap();
            episode.begin(&catalog, now).unwrap()
        };
        assert_eq!([begin(1), begin(2)], ["1", "1"]);
        Episode::of(&catalog, "headroom", &name).unwrap().end(&catalog).unwrap();
        assert_eq!(begin(3), "3");
    }
}
