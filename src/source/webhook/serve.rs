//! A port -> connections -> requests, on one thread, until it is asked to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::answer::{Peer, answer};
use super::port::{Port, PortError};
use super::tls::{self, Seen};
use crate::cause;

/// Between two looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Between two looks at the certificates' files.
const TLS_LOOK: Duration = Duration::from_secs(1);

/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a handshake may take, and how long a connection may say nothing.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// What a connection may buffer beside its body: a head of a genuine request has 300 bytes.
const BUFFER_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;

/// How long connections may take to end after the stop, beyond the time a request may take.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves the port until `stopped` says so; then it takes no further request and answers those under way.
pub fn serve(port: &Arc<Port>, stopped: &(dyn Fn() -> bool + Sync)) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(port, stopped)),
        Err(error) => {
            tracing::error!(%error, "the webhook has no runtime");
            port.tell(Some(format!("the webhook has no runtime: {error}")));
        }
    }
}

async fn run(port: &Arc<Port>, stopped: &(dyn Fn() -> bool + Sync)) {
    let Some((listener, mut seen)) = open(port, stopped).await else { return };
    let connections = Arc::new(Semaphore::new(port.listening.connections_max));
    let (stop, stopping) = watch::channel(false);
    let mut looked = port.clock.elapsed();
    while !stopped() {
        if port.clock.elapsed().saturating_sub(looked) >= TLS_LOOK {
            looked = port.clock.elapsed();
            look(port, &mut seen);
        }
        let Ok(accepted) = timeout(LOOK, listener.accept()).await else { continue };
        match accepted {
            Ok((socket, from)) => {
                // One too many is closed at once: it comes again, and those that are here are served.
                let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                    port.metrics.webhook_connections_refused.inc();
                    continue;
                };
                let connection = Connection {
                    port: Arc::clone(port),
                    from,
                    stopping: stopping.clone(),
                    _permit: permit,
                };
                drop(tokio::spawn(connection.run(socket)));
            }
            Err(error) => {
                // Out of file descriptors, most likely; asking again at once would only burn the processor.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(LOOK).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let longest = port.places.iter().map(|it| it.answer_within).max().unwrap_or_default();
    let all = u32::try_from(port.listening.connections_max).unwrap_or(u32::MAX);
    if timeout(longest + DRAIN, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("requests were cut off at the stop; they come again");
    }
}

/// Listens, however often that has to be tried. `None`: it was asked to stop.
async fn open(
    port: &Arc<Port>,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Option<(TcpListener, Seen)> {
    loop {
        match attempt(port).await {
            Ok((listener, seen)) => {
                let address = listener.local_addr().unwrap_or(port.listening.listen);
                let (tls, paths) = (port.listening.tls.is_some(), port.places.len());
                tracing::info!(listen = %address, tls, paths, "the webhook listens");
                port.tell(None);
                return Some((listener, seen));
            }
            Err(error) => {
                let words = cause::line(&error);
                if port.tell(Some(words.clone())) {
                    tracing::error!(error = words, "the webhook does not listen; trying again");
                }
            }
        }
        let since = port.clock.elapsed();
        while port.clock.elapsed().saturating_sub(since) < AGAIN {
            if stopped() {
                return None;
            }
            sleep(LOOK).await;
        }
    }
}

async fn attempt(port: &Arc<Port>) -> Result<(TcpListener, Seen), PortError> {
    let mut seen = Seen::new();
    if let Some(pair) = &port.listening.tls {
        seen = tls::read(pair, &port.places)?;
        port.put_in_force(tls::build(pair, &port.places, &seen)?);
    }
    let listen = port.listening.listen;
    let bound = TcpListener::bind(listen).await;
    bound.map(|it| (it, seen)).map_err(|source| PortError::Bind { listen, source })
}

/// Loads the certificates again if a file is another one. `seen` is what was looked at last, whether it could
/// be used or not, so that each state is told once.
fn look(port: &Port, seen: &mut Seen) {
    let Some(pair) = &port.listening.tls else { return };
    let now = tls::read(pair, &port.places);
    if now.as_ref().is_ok_and(|it| it == seen) {
        return;
    }
    let built = now.and_then(|it| {
        *seen = it;
        tls::build(pair, &port.places, seen)
    });
    let stale = port.metrics.webhook_tls_stale.get_or_create(&port.label());
    match built {
        Ok(certificates) => {
            port.put_in_force(certificates);
            stale.set(0);
            tracing::info!(cert = %pair.cert.display(), "the webhook's certificates were loaded again");
        }
        Err(error) => {
            if stale.set(1) == 0 || !matches!(error, tls::TlsError::Read { .. }) {
                let error = cause::line(&error);
                tracing::error!(
                    error,
                    "the webhook's certificates cannot be loaded again; those before stay in force"
                );
            }
            // A file that could not be read is looked at again, whatever the others hold.
            if matches!(error, tls::TlsError::Read { .. }) {
                seen.clear();
            }
        }
    }
}

struct Connection {
    port: Arc<Port>,
    from: SocketAddr,
    stopping: watch::Receiver<bool>,
    /// One of those that may be there at one time.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, socket: TcpStream) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection may be slow");
        }
        let Some(certificates) = self.port.certificates() else {
            return self.http(socket, Vec::new()).await;
        };
        match timeout(HANDSHAKE_WITHIN, certificates.acceptor.accept(socket)).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                self.http(stream, chain).await;
            }
            Ok(Err(error)) => {
                self.port.metrics.webhook_handshakes_failed.inc();
                tracing::debug!(from = %self.from, %error, "a handshake failed");
                if tls::is_refusal(&error) {
                    self.port.refused(&format!("{error} from {}", self.from.ip()));
                }
            }
            Err(_) => {
                self.port.metrics.webhook_handshakes_failed.inc();
                tracing::debug!(from = %self.from, "a handshake took too long");
            }
        }
    }

    async fn http<S>(self, stream: S, chain: super::answer::Chain)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (port, mut stopping) = (&self.port, self.stopping.clone());
        let peer = Peer { from: self.from, chain };
        let peer = &peer;
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(answer(port, peer, request).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = asked(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(from = %self.from, error = cause::line(&error), "a connection broke off");
        }
    }
}

/// Waits until the server is asked to stop. One that is gone asks as well.
async fn asked(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|it| *it).await);
}
