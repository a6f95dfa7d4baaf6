//! An address -> a server on it, and its end.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::api::routes;
use super::{Listen, State};

/// How long requests that are under way may take after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error("http cannot listen on {listen}")]
pub struct ServeError {
    /// The address.
    pub listen: SocketAddr,
    /// The operating system's own words.
    #[source]
    pub source: std::io::Error,
}

/// A server that listens. When it is dropped, it stops without waiting.
pub struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Starts the server, on the current tokio runtime. Port 0 takes a free one.
///
/// # Errors
/// When the address is taken or not of this machine.
pub async fn start(listen: Listen, state: State) -> Result<Serving, ServeError> {
    let failed = |source| ServeError { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async {
        // A `Serving` that was dropped ends the server as well.
        stopped.await.unwrap_or_default();
    };
    let task = tokio::spawn(serve(listener, state, until));
    Ok(Serving { address, stop, task })
}

async fn serve(
    listener: TcpListener,
    state: State,
    until: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes(state)).with_graceful_shutdown(until).await
}

impl Serving {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and waits a little for those under way.
    pub async fn stop(mut self) {
        if self.stop.send(()).is_err() {
            tracing::warn!("http had already ended");
        }
        if tokio::time::timeout(DRAIN_MAX, &mut self.task).await.is_err() {
            // A client that keeps its connection busy does not keep the program from ending.
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;
    use crate::serve::{Answer, Part, Readiness};

    struct Asked {
        code: u16,
        kind: String,
        text: String,
    }

    async fn ask(serving: &Serving, path: &str) -> Asked {
        let url = format!("http://{}{path}", serving.address());
        let response = reqwest::get(url).await.unwrap();
        let kind = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
        Asked { code: response.status().as_u16(), kind, text: response.text().await.unwrap() }
    }

    async fn serving(readiness: &Readiness) -> Serving {
        let state = State {
            metrics: Metrics::new(),
            readiness: readiness.clone(),
            status: Arc::new(|| serde_json::json!({ "sources": [] })),
            reload: Arc::new(|| Answer::Refused(serde_json::json!({ "errors": ["x"] }))),
        };
        start(SocketAddr::from(([127, 0, 0, 1], 0)), state).await.unwrap()
    }

    #[tokio::test]
    async fn it_is_live_before_it_is_ready_and_says_what_is_missing() {
        let readiness = Readiness::new();
        let serving = serving(&readiness).await;
        assert_eq!(ask(&serving, "/healthz").await.code, 200);
        let asked = ask(&serving, "/readyz").await;
        assert_eq!(asked.code, 503);
        assert_eq!(
            asked.text,
            r#"{"ready":false,"reasons":{"archive":"starting","rules":"starting","sources":"starting"}}"#
        );
        Part::ALL.into_iter().for_each(|it| readiness.set(it));
        let asked = ask(&serving, "/readyz").await;
        assert_eq!((asked.code, asked.text.as_str()), (200, r#"{"ready":true,"reasons":{}}"#));
        serving.stop().await;
    }

    #[tokio::test]
    async fn metrics_status_and_unknown_paths_answer_in_their_forms() {
        let serving = serving(&Readiness::new()).await;
        let asked = ask(&serving, "/metrics").await;
        assert!(asked.kind.starts_with("application/openmetrics-text"), "{}", asked.kind);
        assert!(asked.text.contains("kustos_build_info{") && asked.text.ends_with("# EOF\n"));
        assert_eq!(ask(&serving, "/api/v1/status").await.text, r#"{"sources":[]}"#);
        let asked = ask(&serving, "/nowhere").await;
        assert_eq!((asked.code, asked.kind.as_str()), (404, "application/json"));
        assert_eq!(ask(&serving, "/api/v1/reload").await.code, 405);
        let url = format!("http://{}/api/v1/reload", serving.address());
        let response = reqwest::Client::new().post(url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 422);
        assert_eq!(response.text().await.unwrap(), r#"{"errors":["x"]}"#);
        serving.stop().await;
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error_that_names_it_and_a_stop_frees_it() {
        let serving = serving(&Readiness::new()).await;
        let address = serving.address();
        let state = || State {
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            status: Arc::new(|| serde_json::Value::Null),
            reload: Arc::new(|| Answer::Done(serde_json::Value::Null)),
        };
        let error = start(address, state()).await.err().unwrap();
        assert_eq!(error.to_string(), format!("http cannot listen on {address}"));
        serving.stop().await;
        start(address, state()).await.unwrap().stop().await;
    }
}
