//! The configured webhook sources -> the ports they share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{self, ByteSize, Config, Secret};
use crate::metrics::Metrics;
use crate::pipeline::intake::SourceName;
use crate::pipeline::webhook::{SharedPort, WebhookSource};
use crate::source::webhook::{Listening, Pair, Place, Port};

/// The ports of a configuration.
pub(super) struct Ports {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    shared: BTreeMap<SocketAddr, Arc<SharedPort>>,
}

impl Ports {
    pub(super) fn new(config: &Config, metrics: &Metrics, clock: &Arc<dyn Clock>) -> Ports {
        let shared = ports(config, metrics, clock)
            .into_iter()
            .map(|(listen, port)| (listen, Arc::new(SharedPort::new(port))))
            .collect();
        Ports { metrics: metrics.clone(), clock: Arc::clone(clock), shared }
    }

    /// A source of that configuration.
    #[expect(clippy::expect_used, reason = "every source's address was given a port just before")]
    pub(super) fn source(&self, of: &config::WebhookSource, name: SourceName) -> WebhookSource {
        let port = Arc::clone(self.shared.get(&of.listen).expect("each address has a port"));
        let (metrics, clock) = (self.metrics.clone(), Arc::clone(&self.clock));
        WebhookSource { name, port, metrics, clock }
    }
}

/// Each address with its paths.
pub(super) fn ports(
    config: &Config,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
) -> Vec<(SocketAddr, Port)> {
    let mut places: BTreeMap<SocketAddr, (Listening, Vec<Place>)> = BTreeMap::new();
    for source in &config.sources {
        let config::Source::Webhook(it) = source else { continue };
        let listening = || (listening(it), Vec::new());
        places.entry(it.listen).or_insert_with(listening).1.push(place(it));
    }
    let port = |(listen, (listening, places))| {
        (listen, Port::new(listening, places, metrics.clone(), Arc::clone(clock)))
    };
    places.into_iter().map(port).collect()
}

fn listening(it: &config::WebhookSource) -> Listening {
    let pair = |it: &config::webhook::Tls| Pair { cert: it.cert.clone(), key: it.key.clone() };
    Listening {
        listen: it.listen,
        tls: it.tls.as_ref().map(pair),
        connections_max: usize::from(it.connections_max.get()),
    }
}

fn place(it: &config::WebhookSource) -> Place {
    let bytes = |it: ByteSize| usize::try_from(it.0).unwrap_or(usize::MAX);
    Place {
        source: it.name().into(),
        path: it.path(),
        client_ca: it.tls.as_ref().and_then(|it| it.client_ca.clone()),
        token: it.token_file.clone().map(Secret::File),
        body_bytes_max: bytes(it.body_bytes_max),
        inflight_bytes_max: bytes(it.inflight_bytes_max),
        answer_within: it.answer_within.0,
    }
}
