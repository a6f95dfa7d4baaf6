//! A request -> its answer.
//!
//! One rule: 200 means that the body is durable. Everything that says less says so before the sender gives up,
//! and says when to come again where that helps.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap,
    HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::Handed;
use super::body::{self, BodyError, Shape};
use super::port::{Found, Port, Route};
use crate::cause;
use crate::metrics::WebhookLabels;
use crate::source::{Fate, Receipt};

/// How long a body may take to arrive: an API server gives up after 30 s.
const BODY_WITHIN: Duration = Duration::from_secs(25);

/// How long and how much of a body is read that is not taken, so that its sender sees the answer.
const DISCARD_WITHIN: Duration = Duration::from_secs(15);
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Between two looks whether there is room in the pipeline.
const ROOM_LOOK: Duration = Duration::from_millis(5);

/// When a sender is to come again: soon when it is only too fast, later when nothing can be kept.
const BUSY_AGAIN: Duration = Duration::from_secs(1);
const STALLED_AGAIN: Duration = Duration::from_secs(5);

/// A client's certificate and those it sent along.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// Who is at the other end of a connection.
pub(super) struct Peer {
    pub(super) from: SocketAddr,
    /// Empty: it showed none.
    pub(super) chain: Chain,
}

/// What is said to a request.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: StatusCode,
    words: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Said {
    fn new(code: StatusCode, words: impl Into<String>) -> Said {
        Said { code, words: words.into(), header: None }
    }

    fn again(code: StatusCode, words: impl Into<String>, after: Duration) -> Said {
        let header = Some((RETRY_AFTER, HeaderValue::from(after.as_secs())));
        Said { header, ..Said::new(code, words) }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.words + "\n")));
        *response.status_mut() = self.code;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Answers a request.
pub(super) async fn answer(
    port: &Port,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = port.clock.elapsed();
    let (parts, body) = request.into_parts();
    let (source, said) = match port.at(parts.uri.path()) {
        Found::Route(route) => {
            let said = post(port, &route, peer, &parts, body).await;
            (route.place.source.to_string(), said)
        }
        Found::Closed(source) => {
            let words = "the archive is not open yet, or not any more";
            let said = Said::again(StatusCode::SERVICE_UNAVAILABLE, words, BUSY_AGAIN);
            (source.to_string(), said)
        }
        Found::Nothing => (String::new(), Said::new(StatusCode::NOT_FOUND, "no such path")),
    };
    let labels = WebhookLabels { source, code: said.code.as_u16().to_string() };
    port.metrics.webhook_requests.get_or_create(&labels).inc();
    let took = port.clock.elapsed().saturating_sub(began);
    port.metrics.webhook_answer_seconds.observe(took.as_secs_f64());
    said.response()
}

async fn post(port: &Port, route: &Route, peer: &Peer, parts: &Parts, body: Incoming) -> Said {
    let began = port.clock.elapsed();
    if let Err(said) = admit(port, route, peer, &parts.headers) {
        if matches!(said.code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            (route.desk.refused)(&format!("{} from {}", said.words, peer.from.ip()));
        }
        return said;
    }
    let shape = match shape(parts, route.place.body_bytes_max) {
        Ok(shape) => shape,
        Err(said) => return discard(&parts.headers, body, said),
    };
    if (route.desk.stalled)() {
        let words = "the archive cannot be written";
        let said = Said::again(StatusCode::SERVICE_UNAVAILABLE, words, STALLED_AGAIN);
        return discard(&parts.headers, body, said);
    }
    let Some(reserved) = route.inflight.reserve(shape.length.unwrap_or(0)) else {
        return discard(&parts.headers, body, refusal(BodyError::NoRoom));
    };
    match timeout(BODY_WITHIN, body::read(body, shape, reserved)).await {
        Err(_) => Said::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        Ok(Err(error)) => refusal(error),
        Ok(Ok((bytes, _))) if bytes.iter().all(u8::is_ascii_whitespace) => {
            Said::new(StatusCode::BAD_REQUEST, "the body is empty")
        }
        Ok(Ok((bytes, reserved))) => {
            let (told, receipt) = route.inflight.join(Sha256::digest(&bytes).into(), reserved);
            // Sent again while it is under way: one copy is enough.
            let length = bytes.len();
            let first = receipt.map(|it| (bytes, it));
            let arrived = port.clock.elapsed();
            let within = patience(route, arrived.saturating_sub(began));
            let said = keep(route, within, told, first).await;
            let waited = port.clock.elapsed().saturating_sub(arrived);
            if said.code == StatusCode::OK && waited < route.place.answer_within / 2 {
                route.inflight.widen(length);
            } else if waited >= within {
                route.inflight.narrow();
            }
            said
        }
    }
}

/// How long a body that took so long to arrive waits for its commit: what is left of the time that is promised from
/// the request's head on. A slow network does not take it all, or nothing that comes over it could ever be kept.
fn patience(route: &Route, arrived_in: Duration) -> Duration {
    let promised = route.place.answer_within;
    promised.saturating_sub(arrived_in).max(promised / 2)
}

/// Waits until the body is durable, no longer than that.
async fn keep(
    route: &Route,
    within: Duration,
    mut told: super::inflight::Waiting,
    first: Option<(Vec<u8>, Receipt)>,
) -> Said {
    let mut handed = first.is_none();
    let kept = async {
        if let Some((bytes, receipt)) = first
            && !hand_over(route, bytes, receipt).await
        {
            return None;
        }
        handed = true;
        told.wait_for(Option::is_some).await.ok().and_then(|it| *it)
    };
    let unavailable =
        |words: &str, after| Said::again(StatusCode::SERVICE_UNAVAILABLE, words, after);
    match timeout(within, kept).await {
        Ok(Some(Fate::Kept)) => Said::new(StatusCode::OK, "kept"),
        Ok(_) => unavailable("not kept: kustos ends, or the archive failed", BUSY_AGAIN),
        // It may become durable yet; sent again it is found to be there already.
        Err(_) if handed => unavailable("not durable in time", STALLED_AGAIN),
        Err(_) => {
            let words = "the pipeline is full";
            Said::again(StatusCode::TOO_MANY_REQUESTS, words, BUSY_AGAIN)
        }
    }
}

/// Puts a body into the pipeline as soon as there is room and those before it are in. False: it has ended.
async fn hand_over(route: &Route, mut bytes: Vec<u8>, mut receipt: Receipt) -> bool {
    let _turn = route.turn.lock().await;
    loop {
        match (route.desk.take)(bytes, receipt) {
            Handed::Over => return true,
            Handed::Ended => return false,
            Handed::Back(back, unspent) => (bytes, receipt) = (back, unspent),
        }
        sleep(ROOM_LOOK).await;
    }
}

/// Whether the sender may write to this path.
fn admit(port: &Port, route: &Route, peer: &Peer, headers: &HeaderMap) -> Result<(), Said> {
    let unauthorized = |words: &str| Said {
        header: Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        ..Said::new(StatusCode::UNAUTHORIZED, words)
    };
    if route.place.client_ca.is_some() {
        let Some((own, others)) = peer.chain.split_first() else {
            return Err(unauthorized("a client certificate is asked for here"));
        };
        let certificates = port.certificates();
        let verifier = certificates.as_ref().and_then(|it| it.verifiers.get(&route.place.path));
        let micros = u64::try_from(port.clock.now()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_micros(micros));
        let known = verifier.is_some_and(|it| it.verify_client_cert(own, others, now).is_ok());
        if !known {
            let words = "the client certificate is not of this path's authority";
            return Err(Said::new(StatusCode::FORBIDDEN, words));
        }
    }
    let Some(secret) = &route.place.token else { return Ok(()) };
    let token = secret.read().map_err(|error| {
        let error = cause::line(&error);
        tracing::error!(source = %route.place.source, error, "the token cannot be read: nobody is let in");
        Said::again(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be read", STALLED_AGAIN)
    })?;
    let said = headers.get(AUTHORIZATION).and_then(|it| bearer(it.as_bytes()));
    let Some(said) = said else { return Err(unauthorized("a token is asked for here")) };
    if same(said, token.as_bytes()) { Ok(()) } else { Err(unauthorized("the token is wrong")) }
}

/// The token of an `Authorization` header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Whether both are the same, in a time that says nothing of where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// How the body comes, by the head.
fn shape(parts: &Parts, bytes_max: usize) -> Result<Shape, Said> {
    if parts.method != Method::POST {
        let header = Some((ALLOW, HeaderValue::from_static("POST")));
        let said = Said::new(StatusCode::METHOD_NOT_ALLOWED, "audit events are posted here");
        return Err(Said { header, ..said });
    }
    let unsupported = |words| Said::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
    let word = |name: HeaderName| {
        let value = parts.headers.get(name)?.as_bytes().split(|it| *it == b';').next()?;
        Some(value.trim_ascii().to_ascii_lowercase())
    };
    if word(CONTENT_TYPE).is_some_and(|it| it != b"application/json") {
        return Err(unsupported("only application/json is taken"));
    }
    let gzip = match word(CONTENT_ENCODING).as_deref() {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => return Err(unsupported("only gzip is unpacked")),
    };
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if length.is_some_and(|it: usize| it > bytes_max) {
        return Err(refusal(BodyError::TooLarge));
    }
    Ok(Shape { gzip, length, bytes_max })
}

fn refusal(error: BodyError) -> Said {
    let words = error.to_string();
    match error {
        BodyError::TooLarge => Said::new(StatusCode::PAYLOAD_TOO_LARGE, words),
        BodyError::NoRoom => Said::again(StatusCode::TOO_MANY_REQUESTS, words, BUSY_AGAIN),
        BodyError::NotGzip | BodyError::Aborted => Said::new(StatusCode::BAD_REQUEST, words),
    }
}

/// Answers at once and lets the body run into nothing: a connection that is closed while its client still
/// writes may lose the answer. One who was let in is owed that much.
fn discard(headers: &HeaderMap, mut body: Incoming, said: Said) -> Said {
    if !headers.contains_key(EXPECT) {
        drop(tokio::spawn(async move {
            let mut left = DISCARD_BYTES_MAX;
            let read = async {
                while let Some(Ok(frame)) = body.frame().await {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let Some(rest) = left.checked_sub(bytes) else { return };
                    left = rest;
                }
            };
            timeout(DISCARD_WITHIN, read).await.unwrap_or_default();
        }));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(Method::POST);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_head_says_how_the_body_comes_or_why_it_is_not_taken() {
        let code = |headers: &[(&str, &str)]| shape(&parts(headers), 100).map_err(|it| it.code);
        let taken =
            code(&[("content-type", "application/json; charset=utf-8"), ("content-length", "100")]);
        assert_eq!(taken.map(|it| (it.gzip, it.length)).unwrap(), (false, Some(100)));
        let taken = code(&[("content-encoding", "gzip")]);
        assert_eq!(taken.map(|it| (it.gzip, it.length)).unwrap(), (true, None));
        assert_eq!(code(&[("content-length", "101")]).unwrap_err(), 413);
        assert_eq!(
            code(&[("content-type", "application/vnd.kubernetes.protobuf")]).unwrap_err(),
            415
        );
        assert_eq!(code(&[("content-encoding", "br")]).unwrap_err(), 415);
        let get = Request::builder().method(Method::GET).body(()).unwrap().into_parts().0;
        assert_eq!(shape(&get, 100).unwrap_err().code, 405);
    }

    #[test]
    fn a_token_is_compared_whole() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"abc"), None);
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abcd") && !same(b"", b"a"));
    }
}
