//! A webhook source of the daemon: a path of a port, joined to the entrance.
//!
//! One rule: the server's thread never waits for the pipeline, and the pipeline never waits for the server. Between
//! them is a lane that says at once when it is full, and a receipt that says what became of a body.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::intake::{Intake, Source, SourceName};
use super::lanes::{Entrance, Lines, Load, NotNow, Stream};
use super::stop::spawn;
use crate::archive::catalog::{Catalog, CatalogError};
use crate::cause;
use crate::clock::Clock;
use crate::detect::Trouble;
use crate::detect::trouble::kind;
use crate::metrics::{Metrics, SourceLabel};
use crate::seal::leaf::Chain;
use crate::source::webhook::{Desk, Handed, Port, serve};
use crate::source::{Chunk, Receipt};

/// Between two looks at how the port is doing.
const LOOK: Duration = Duration::from_millis(50);

/// Between two attempts to begin.
const AGAIN: Duration = Duration::from_secs(1);

/// Refused requests within an hour that make a finding.
const REFUSED_MIN: u32 = 10;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// A path of a port.
pub struct WebhookSource {
    /// What it is called.
    pub name: SourceName,
    /// Its port, which it may share with others.
    pub port: Arc<SharedPort>,
    /// Told how much it holds.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// A port, served by the first of its sources that begins.
pub struct SharedPort {
    port: Arc<Port>,
    served: AtomicBool,
}

impl SharedPort {
    /// Nobody serves it yet.
    pub fn new(port: Port) -> SharedPort {
        SharedPort { port: Arc::new(port), served: AtomicBool::new(false) }
    }
}

impl Source for WebhookSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn run(&self, intake: Intake<'_>) {
        let port = &self.port.port;
        let Some(counted) = self.begin(&intake) else { return };
        port.open(&self.name.name, self.desk(counted, &intake));
        let first = !self.port.served.swap(true, Ordering::SeqCst);
        let server = first.then(|| {
            let (port, stop) = (Arc::clone(port), intake.stop.clone());
            spawn("webhook", move || {
                serve(&port, &|| stop.asked());
                // The pipeline ends when nobody can put anything into it any more.
                port.close();
            })
        });
        // Only what the server holds may keep the pipeline open from here on.
        let Intake { entrance, observer, stop, .. } = intake;
        drop(entrance);
        let label = SourceLabel { source: self.name.name.to_string() };
        let gauge = self.metrics.webhook_inflight_bytes.get_or_create_owned(&label);
        let mut told = None;
        while !stop.asked() {
            let trouble = port.trouble();
            if told.as_ref() != Some(&trouble) {
                observer.state(&self.name, trouble.as_deref());
                told = Some(trouble.clone());
            }
            let bytes = port.inflight(&self.name.name);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            if trouble.is_none() && bytes == 0 {
                observer.lag(&self.name, 0);
            }
            std::thread::sleep(LOOK);
        }
        // A panic of the server has ended the process.
        drop(server.map(std::thread::JoinHandle::join));
    }
}

/// A stream of bodies, and how many there have been.
struct Counted {
    stream: Arc<Stream>,
    next: Mutex<u64>,
}

impl WebhookSource {
    /// Where the count of bodies goes on, however often that has to be asked. `None`: it was asked to stop.
    fn begin(&self, intake: &Intake<'_>) -> Option<Counted> {
        loop {
            match self.stream(&intake.catalog) {
                Ok(stream) => {
                    return Some(Counted {
                        next: Mutex::new(stream.start),
                        stream: Arc::new(stream),
                    });
                }
                Err(error) => {
                    let words = cause::line(&error);
                    tracing::error!(source = %self.name.name, error = words, "the webhook cannot begin; trying again");
                    intake.observer.state(&self.name, Some(&words));
                }
            }
            let since = self.clock.elapsed();
            while self.clock.elapsed().saturating_sub(since) < AGAIN {
                if intake.stop.asked() {
                    return None;
                }
                std::thread::sleep(LOOK);
            }
        }
    }

    /// The stream of this source. It has no first line that could tell it from others: its name does.
    fn stream(&self, catalog: &Catalog) -> Result<Stream, CatalogError> {
        let SourceName { cluster, name } = &self.name;
        let identity = format!("webhook:{name}");
        let known = catalog.sources(cluster, &identity)?.first().map(|it| it.id);
        let source = match known {
            Some(id) => id,
            None => catalog.add_source(cluster, &identity, name, self.clock.now())?,
        };
        let start = catalog.kept_to(source)?;
        let (cluster, name) = (Arc::clone(cluster), Arc::clone(name));
        Ok(Stream { source, cluster, name, start, chain: Chain::default() })
    }

    fn desk(&self, counted: Counted, intake: &Intake<'_>) -> Desk {
        let (entrance, stall) = (intake.entrance.clone(), intake.stall.clone());
        let refusals = Refusals {
            name: self.name.clone(),
            entrance: entrance.clone(),
            clock: Arc::clone(&self.clock),
            hour: Mutex::new((0, 0)),
        };
        Desk {
            take: Box::new(move |bytes, receipt| take(&entrance, &counted, bytes, receipt)),
            stalled: Box::new(move || stall.lasts()),
            refused: Box::new(move |detail| refusals.count(detail)),
        }
    }
}

fn take(entrance: &Entrance, counted: &Counted, bytes: Vec<u8>, receipt: Receipt) -> Handed {
    // Held until the body is in, so that positions grow in the order of the lane.
    let mut next = counted.next.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = Arc::clone(&counted.stream);
    let chunk = Chunk::of_record(*next, bytes);
    match entrance.try_put(Lines { stream, chunk, receipt: Some(receipt) }) {
        Ok(()) => {
            *next += 1;
            Handed::Over
        }
        Err(NotNow::Full(Load::Lines(Lines { chunk, receipt: Some(receipt), .. }))) => {
            Handed::Back(chunk.bytes, receipt)
        }
        Err(NotNow::Full(_) | NotNow::Ended(_)) => Handed::Ended,
    }
}

/// Counts who is not let in, and reports it once an hour.
struct Refusals {
    name: SourceName,
    entrance: Entrance,
    clock: Arc<dyn Clock>,
    /// The hour, and the requests refused in it.
    hour: Mutex<(i64, u32)>,
}

impl Refusals {
    fn count(&self, detail: &str) {
        let now = self.clock.now();
        let mut counted = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.div_euclid(HOUR);
        if counted.0 != hour {
            *counted = (hour, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        if counted.1 != REFUSED_MIN {
            return;
        }
        tracing::warn!(source = %self.name.name, detail, "requests are refused for their credentials");
        let trouble = Trouble {
            kind: kind("kustos-source-refused"),
            cluster: self.name.cluster.to_string(),
            source: self.name.name.to_string(),
            position: 0,
            time: now,
            detail: format!(
                "{REFUSED_MIN} requests within an hour were refused, the last: {detail}"
            ),
            key: hour.to_be_bytes().to_vec(),
        };
        if self.entrance.try_report(trouble).is_err() {
            // The lane is full: the next refusal reports it.
            counted.1 -= 1;
        }
    }
}
