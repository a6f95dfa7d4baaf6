//! Where a stream that was seen before goes on.
//!
//! One rule: a stream is known by what is in it, never by its name. Its first line finds the
//! candidates; the chain over its lines up to a kept position says whether it is one of them.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::archive::catalog::{Catalog, CatalogError, SourceRow};
use crate::hex::hex;
use crate::seal::leaf::{Chain, leaf};
use crate::source::chunk::{Chunk, Chunker, Framing, Next};

/// Why it is not known where a stream goes on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The stream could not be read.
    #[error("{name} could not be read")]
    Read {
        /// The stream's name.
        name: String,
        /// The operating system's or the decoder's own words.
        #[source]
        source: io::Error,
    },
}

/// A stream and where it goes on.
#[derive(Debug, Clone)]
pub struct Located {
    /// The catalog's number for it.
    pub source: i64,
    /// The first byte that is not yet kept.
    pub offset: u64,
    /// The chain over every line before it.
    pub chain: Chain,
    /// The leaf of its first line, hex.
    pub first: String,
    /// Whether it holds nothing but JSON texts over several lines up to there, if anything.
    pub documents: bool,
}

/// What a stream is called and how it is cut.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Its cluster.
    pub cluster: &'a str,
    /// The name a person knows it by.
    pub name: &'a str,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
    /// Whether the stream still grows: half a line at its end is then no line yet.
    pub growing: bool,
    /// Whether JSON texts over several lines are taken for what they are. An API server writes
    /// none; its log is cut the same way while it grows and after it was rotated.
    pub documents: bool,
}

/// Reads a stream from its beginning and says where it goes on; a stream that was never seen is
/// made known. `None`: it has no line yet.
///
/// # Errors
/// When the stream cannot be read or the catalog refuses.
pub fn locate(
    catalog: &Catalog,
    named: &Named<'_>,
    stream: &mut dyn Read,
    now: i64,
) -> Result<Option<Located>, ResumeError> {
    let failed = |source| ResumeError::Read { name: named.name.to_owned(), source };
    let mut chunker = Chunker::at(0, named.line_bytes_max).with_documents(named.documents);
    let mut search: Option<Search> = None;
    loop {
        let (chunk, last) = match chunker.next(stream).map_err(failed)? {
            Next::Chunk(chunk) => (chunk, false),
            Next::Pending if named.growing => break,
            Next::Pending => match chunker.finish() {
                Some(chunk) => (chunk, true),
                None => break,
            },
        };
        if search.is_none() {
            search = Search::begin(catalog, named, &chunk)?;
        }
        let over = search.as_mut().is_some_and(|it| it.pass(&chunk));
        if over || last {
            break;
        }
    }
    let Some(search) = search else { return Ok(None) };
    if search.found.is_some() {
        return Ok(search.found);
    }
    let source = match search.fresh {
        Some(id) => id,
        None => catalog.add_source(named.cluster, &search.first, named.name, now)?,
    };
    let (chain, first, documents) = (Chain::default(), search.first, named.documents);
    Ok(Some(Located { source, offset: 0, chain, first, documents }))
}

struct Search {
    /// The leaf of the first line, hex.
    first: String,
    /// What each candidate has at which offset.
    boundaries: BTreeMap<u64, Vec<(i64, String)>>,
    /// A source that was made known by a process that died before its first commit: nothing of
    /// it is kept, so it serves as well as a new one.
    fresh: Option<i64>,
    /// The chain over every line passed so far.
    chain: Chain,
    found: Option<Located>,
}

impl Search {
    /// Looks the first line up. `None`: the chunk holds none.
    fn begin(
        catalog: &Catalog,
        named: &Named<'_>,
        chunk: &Chunk,
    ) -> Result<Option<Search>, CatalogError> {
        let Some((_, first)) = chunk.lines().next() else { return Ok(None) };
        let first = hex(&leaf(first));
        let known = catalog.sources(named.cluster, &first)?;
        let mut boundaries: BTreeMap<u64, Vec<(i64, String)>> = BTreeMap::new();
        for SourceRow { id, boundaries: kept } in &known {
            for it in kept {
                boundaries.entry(it.end).or_default().push((*id, it.digest.clone()));
            }
        }
        let fresh = known.iter().find(|it| it.boundaries.is_empty()).map(|it| it.id);
        Ok(Some(Search { first, boundaries, fresh, chain: Chain::default(), found: None }))
    }

    /// Passes a chunk; true when there is nothing further to be found.
    fn pass(&mut self, chunk: &Chunk) -> bool {
        for (start, piece) in chunk.pieces() {
            if self.boundaries.range(start + 1..).next().is_none() {
                return true;
            }
            if let Some(line) = chunk.row(piece) {
                self.chain.push(&leaf(line));
            }
            let end = start + piece.len() as u64;
            if let Some(kept) = self.boundaries.get(&end) {
                let value = self.chain.value();
                if let Some((source, _)) = kept.iter().find(|(_, digest)| *digest == value) {
                    let chain = self.chain.clone();
                    let first = self.first.clone();
                    let documents = chunk.framing == Framing::Document;
                    self.found =
                        Some(Located { source: *source, offset: end, chain, first, documents });
                }
            }
        }
        self.boundaries.range(chunk.end() + 1..).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;
    use crate::archive::stored::Boundary;

    fn at(catalog: &Catalog, text: &[u8], growing: bool) -> Option<(i64, u64)> {
        let named = Named {
            cluster: "c",
            name: "audit.log",
            line_bytes_max: 100,
            growing,
            documents: !growing,
        };
        locate(catalog, &named, &mut &*text, 0).unwrap().map(|it| (it.source, it.offset))
    }

    fn keep(catalog: &mut Catalog, source: i64, text: &[u8]) {
        let mut chain = Chain::default();
        text.split(|it| *it == b'\n')
            .filter(|it| !it.is_empty())
            .for_each(|it| chain.push(&leaf(it)));
        let boundary = Boundary { end: text.len() as u64, digest: chain.value(), lasting: false };
        catalog
            .commit(&Commit { positions: vec![(source, boundary)], ..Commit::default() })
            .unwrap();
    }

    #[test]
    fn a_stream_goes_on_where_it_is_kept_and_a_different_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let (source, offset) = at(&catalog, b"a\nb\n", false).unwrap();
        assert_eq!(offset, 0);
        // Not committed yet: the same number again, not a second source.
        assert_eq!(at(&catalog, b"a\nb\n", false), Some((source, 0)));
        keep(&mut catalog, source, b"a\nb\n");
        assert_eq!(at(&catalog, b"a\nb\n", false), Some((source, 4)));
        assert_eq!(at(&catalog, b"a\nb\nc\n", true), Some((source, 4)));
        let (other, offset) = at(&catalog, b"a\nX\nc\n", false).unwrap();
        assert_eq!(offset, 0);
        assert_ne!(other, source);
    }

    #[test]
    fn a_stream_without_a_line_is_nowhere_yet() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        assert_eq!(at(&catalog, b"", true), None);
        assert_eq!(at(&catalog, b"half", true), None);
        assert_eq!(at(&catalog, b"\n\n", false), None);
        assert!(at(&catalog, b"half", false).is_some());
    }
}
