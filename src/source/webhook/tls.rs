//! Certificate files -> what a port shows and whom it lets in, loaded again when they change.
//!
//! One rule: files that do not fit together change nothing. What was loaded before stays in force, because a
//! rotation is never seen in one step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::{Pair, Place};

/// A longer file holds no certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or not readable.
    #[error("{path} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate and the key do not fit together, or one is of an unknown kind.
    #[error("the certificate {cert} cannot be used with the key {key}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The library's own words.
        #[source]
        source: rustls::Error,
    },
    /// An authority cannot be used.
    #[error("the authorities of {path} cannot be used")]
    Authority {
        /// The file.
        path: PathBuf,
        /// The library's own words.
        #[source]
        source: VerifierBuilderError,
    },
    /// The library was built without what this needs, which is a bug.
    #[error("tls could not be set up")]
    Setup(#[source] rustls::Error),
}

/// What is in force on a port.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) acceptor: TlsAcceptor,
    /// Who may post to a path that asks for a certificate.
    pub(super) verifiers: BTreeMap<String, Arc<dyn ClientCertVerifier>>,
}

/// The files of a port: their paths, and what they held when they were looked at.
pub(super) type Seen = BTreeMap<PathBuf, Vec<u8>>;

/// Reads every file that the port needs.
pub(super) fn read(pair: &Pair, places: &[Place]) -> Result<Seen, TlsError> {
    let authorities = places.iter().filter_map(|it| it.client_ca.as_ref());
    [&pair.cert, &pair.key]
        .into_iter()
        .chain(authorities)
        .map(|path| match bytes(path) {
            Ok(held) => Ok((path.clone(), held)),
            Err(source) => Err(TlsError::Read { path: path.clone(), source }),
        })
        .collect()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut held = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut held)?;
    Ok(held)
}

/// Makes of them what the port uses. Pure: no I/O.
pub(super) fn build(pair: &Pair, places: &[Place], seen: &Seen) -> Result<Certificates, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut verifiers = BTreeMap::new();
    let mut all = RootCertStore::empty();
    for (place, path) in places.iter().filter_map(|it| Some((it, it.client_ca.as_ref()?))) {
        let roots = roots(path, seen)?;
        all.roots.extend(roots.roots.iter().cloned());
        verifiers.insert(place.path.clone(), verifier(roots, path, &provider, true)?);
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    // The handshake lets in whoever one of the paths may know; each request is held to its own path's
    // authorities again.
    let builder = match places.iter().find_map(|it| it.client_ca.as_ref()) {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let every = places.iter().all(|it| it.client_ca.is_some());
            builder.with_client_cert_verifier(verifier(all, path, &provider, every)?)
        }
    };
    let chain = certificates(&pair.cert, seen)?;
    let held = seen.get(&pair.key).map(Vec::as_slice).unwrap_or_default();
    let key = PrivateKeyDer::from_pem_slice(held)
        .map_err(|_| TlsError::Pem { path: pair.key.clone(), what: "private key" })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|source| TlsError::Pair {
        cert: pair.cert.clone(),
        key: pair.key.clone(),
        source,
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Certificates { acceptor: TlsAcceptor::from(Arc::new(config)), verifiers })
}

fn verifier(
    roots: RootCertStore,
    path: &Path,
    provider: &Arc<CryptoProvider>,
    asked: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if asked { builder } else { builder.allow_unauthenticated() };
    let built = builder.build();
    built.map_err(|source| TlsError::Authority { path: path.to_owned(), source })
}

fn roots(path: &Path, seen: &Seen) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for it in certificates(path, seen)? {
        roots.add(it).map_err(|_| TlsError::Pem { path: path.to_owned(), what: "authority" })?;
    }
    Ok(roots)
}

fn certificates(path: &Path, seen: &Seen) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = || TlsError::Pem { path: path.to_owned(), what: "certificate" };
    let held = seen.get(path).map(Vec::as_slice).unwrap_or_default();
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(held).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// Whether a handshake failed because of the certificate that the client showed, or did not show.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    let why = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
    matches!(why, Some(InvalidCertificate(_) | NoCertificatesPresented))
}
