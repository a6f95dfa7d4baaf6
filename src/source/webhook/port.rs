//! A port and the paths it serves, shared by its server and by the sources whose paths they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::inflight::Inflight;
use super::tls::{self, Certificates, TlsError};
use super::{Desk, Listening, Place};
use crate::clock::Clock;
use crate::metrics::{ListenLabel, Metrics};

/// Why a port does not listen.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address is taken or not of this machine.
    #[error("the webhook cannot listen on {listen}")]
    Bind {
        /// The address.
        listen: std::net::SocketAddr,
        /// The operating system's own words.
        #[source]
        source: std::io::Error,
    },
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An address with its paths.
pub struct Port {
    pub(super) listening: Listening,
    pub(super) places: Vec<Place>,
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn Clock>,
    /// What is in force; nothing for plain HTTP.
    certificates: RwLock<Option<Arc<Certificates>>>,
    routes: Mutex<BTreeMap<String, Arc<Route>>>,
    /// Why it does not listen.
    trouble: Mutex<Option<String>>,
}

/// A path that is open.
pub(super) struct Route {
    pub(super) place: Place,
    pub(super) inflight: Arc<Inflight>,
    pub(super) desk: Desk,
    /// Held by the body that is next to be handed over: they go in the order they came.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// What is at a path.
pub(super) enum Found {
    Route(Arc<Route>),
    /// Its source has not begun yet, or has ended.
    Closed(Arc<str>),
    Nothing,
}

impl Port {
    /// Serves nothing yet.
    pub fn new(
        listening: Listening,
        places: Vec<Place>,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Port {
        Port {
            listening,
            places,
            metrics,
            clock,
            certificates: RwLock::default(),
            routes: Mutex::default(),
            trouble: Mutex::new(Some("the webhook does not listen yet".to_owned())),
        }
    }

    /// Loads the certificates and forgets them again: for those who only want to know whether it can be done.
    ///
    /// # Errors
    /// When a file is not there, or they do not fit together.
    pub fn check(&self) -> Result<(), TlsError> {
        let Some(pair) = &self.listening.tls else { return Ok(()) };
        let seen = tls::read(pair, &self.places)?;
        tls::build(pair, &self.places, &seen).map(drop)
    }

    /// From here on bodies that are posted to a source's path go over that desk.
    pub fn open(&self, source: &str, desk: Desk) {
        let Some(place) = self.places.iter().find(|it| &*it.source == source) else { return };
        let route = Route {
            place: place.clone(),
            inflight: Inflight::new(place.inflight_bytes_max),
            desk,
            turn: tokio::sync::Mutex::default(),
        };
        self.routes().insert(place.path.clone(), Arc::new(route));
    }

    /// Gives every desk back.
    pub fn close(&self) {
        self.routes().clear();
    }

    /// Bytes of a source's bodies that are not yet durable.
    pub fn inflight(&self, source: &str) -> usize {
        let routes = self.routes();
        routes.values().find(|it| &*it.place.source == source).map_or(0, |it| it.inflight.bytes())
    }

    /// Why it does not listen, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives whether that is news.
    pub(super) fn tell(&self, trouble: Option<String>) -> bool {
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *told != trouble;
        *told = trouble;
        news
    }

    pub(super) fn at(&self, path: &str) -> Found {
        if let Some(route) = self.routes().get(path) {
            return Found::Route(Arc::clone(route));
        }
        let place = self.places.iter().find(|it| it.path == path);
        place.map_or(Found::Nothing, |it| Found::Closed(Arc::clone(&it.source)))
    }

    pub(super) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn put_in_force(&self, certificates: Certificates) {
        let mut held = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::new(certificates));
    }

    /// Somebody was not even let onto the port. It is told to its first source.
    pub(super) fn refused(&self, detail: &str) {
        let route = self.places.first().and_then(|it| self.routes().get(&it.path).cloned());
        if let Some(route) = route {
            (route.desk.refused)(detail);
        }
    }

    /// Its address, as a metric's label.
    pub(super) fn label(&self) -> ListenLabel {
        ListenLabel { listen: self.listening.listen.to_string() }
    }

    fn routes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Route>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
