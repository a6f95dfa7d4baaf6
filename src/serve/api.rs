//! A request -> its answer.

use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::{Answer, State};

/// What OpenMetrics 1.0 text is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every path there is.
pub(super) fn routes(state: State) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/reload", post(reload))
        .method_not_allowed_fallback(not_allowed)
        .fallback(unknown)
        .with_state(state)
}

/// The process runs and answers. It says nothing of the work: see `readyz`.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(extract::State(state): extract::State<State>) -> Response {
    let missing = state.readiness.missing();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Map<String, Value> =
        missing.into_iter().map(|(part, why)| (part.as_str().to_owned(), why.into())).collect();
    (code, Json(json!({ "ready": code == StatusCode::OK, "reasons": reasons }))).into_response()
}

async fn metrics(extract::State(state): extract::State<State>) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], state.metrics.encode()).into_response()
}

async fn status(extract::State(state): extract::State<State>) -> Response {
    let told = tokio::task::spawn_blocking(move || (state.status)()).await;
    match told {
        Ok(told) => Json(told).into_response(),
        Err(error) => {
            tracing::error!(%error, "the status could not be told");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the status could not be told")
        }
    }
}

async fn reload(extract::State(state): extract::State<State>) -> Response {
    match tokio::task::spawn_blocking(move || (state.reload)()).await {
        Ok(Answer::Done(told)) => Json(told).into_response(),
        Ok(Answer::Refused(why)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(why)).into_response(),
        Ok(Answer::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, Json(why)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the rules could not be loaded again");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the rules could not be loaded again")
        }
    }
}

async fn not_allowed() -> Response {
    refused(StatusCode::METHOD_NOT_ALLOWED, "this path is asked in another way")
}

async fn unknown() -> Response {
    refused(StatusCode::NOT_FOUND, "no such path")
}

fn refused(code: StatusCode, error: &str) -> Response {
    (code, Json(json!({ "error": error }))).into_response()
}
