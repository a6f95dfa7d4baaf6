//! Any HTTP endpoint: one POST for each message, JSON as in `schemas/alert.json`.
//!
//! The message's id goes along as `Idempotency-Key`, so that a receiver can tell a repetition.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cause::causes;
use super::{DeliverError, Delivery, Kind, Message, Pace, Sink, WhyNot};
use crate::alert::plain;
use crate::clock::{Clock, SystemClock};
use crate::config::{Period, Secret, Settings};

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    example: "{ kind: webhook, name: oncall, min_level: high, url_file: /etc/kustos/oncall-url, timeout: 10s }",
    schema: || schemars::schema_for!(Own).to_value(),
    build,
};

/// The version of the payload; it changes when a field goes away or changes its meaning.
const VERSION: &str = "1";

/// How long a destination may take to answer, unless the settings say otherwise.
const TIMEOUT: Period = Period::secs(10);

/// The shortest and the longest `timeout`.
const TIMEOUTS: (Period, Period) = (Period::millis(100), Period::secs(50));

/// How much of an answer is read: enough for its reason, and for the connection to be reused.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How much of an answer is kept as the reason of a failure.
const WHY_CHARS_MAX: usize = 300;

/// Messages that may be under way at once.
const CALLS_MAX: u32 = 4;

/// The settings of kind `webhook`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Own {
    /// Where to send to. It is shown without its path: services put their tokens there.
    url: Option<String>,
    /// A file that holds the URL.
    url_file: Option<String>,
    /// An environment variable that holds the URL.
    url_env: Option<String>,
    /// A file that holds a token, sent as `Authorization: Bearer`.
    token_file: Option<String>,
    /// An environment variable that holds the token.
    token_env: Option<String>,
    /// How long the destination may take to answer. Default: 10s; 100ms to 50s.
    #[serde(default = "timeout")]
    timeout: Period,
}

fn timeout() -> Period {
    TIMEOUT
}

struct Webhook {
    client: Client,
    url: Secret,
    token: Option<Secret>,
}

/// What is posted. `schemas/alert.json` describes it.
#[derive(Serialize)]
struct Payload<'a> {
    version: &'static str,
    id: &'a str,
    alert: &'a RawValue,
}

fn build(settings: &Settings) -> Result<Box<dyn Sink>, WhyNot> {
    let own: Own = settings.read()?;
    let wrong = |key, why| WhyNot::Value { key, why };
    let (least, most) = TIMEOUTS;
    if own.timeout < least || own.timeout > most {
        let why = format!("{} is not within {least} and {most}", own.timeout);
        return Err(wrong("timeout", why));
    }
    let url = Secret::one_of("url", own.url, own.url_file, own.url_env)?
        .ok_or_else(|| wrong("url", "give one of url, url_file and url_env".to_owned()))?;
    if let Secret::Given(text) = &url {
        parse_url(text).map_err(|why| wrong("url", why))?;
    }
    let token = Secret::one_of("token", None, own.token_file, own.token_env)?;
    let client = client(own.timeout).map_err(|error| wrong("url", causes(&error)))?;
    Ok(Box::new(Webhook { client, url, token }))
}

fn client(timeout: Period) -> reqwest::Result<Client> {
    let settled = || {
        Client::builder()
            .user_agent(concat!("kustos/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout.0)
            // A redirect could carry findings and the token to a host nobody configured.
            .redirect(redirect::Policy::none())
    };
    settled().build().or_else(|error| {
        // A machine without CA certificates, as a small container is, can still reach `http`
        // destinations. With no roots at all, every `https` one fails, and says why.
        tracing::warn!(error = causes(&error), "there are no CA certificates: https will fail");
        settled().tls_certs_only([]).build()
    })
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other:?} is neither http nor https")),
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, batch: &'a [Message]) -> Delivery<'a> {
        Box::pin(async move {
            for message in batch {
                self.post(message).await?;
            }
            Ok(())
        })
    }

    fn pace(&self) -> Pace {
        Pace { batch_max: 1, calls_max: CALLS_MAX }
    }
}

impl Webhook {
    async fn post(&self, message: &Message) -> Result<(), DeliverError> {
        let body = payload(message)?;
        let key = HeaderValue::from_str(&message.id)
            .map_err(|_| DeliverError::Rejected { why: "the id is no header value".to_owned() })?;
        // A secret is read for each message: a rotated one counts at once, and one that is not
        // there yet is a reason to wait, not to give up.
        let url = read(&self.url).await?;
        let url = parse_url(&url).map_err(retry)?;
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("idempotency-key", key)
            .body(body);
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", read(token).await?))
                .map_err(|_| retry("the token is no header value".to_owned()))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        // `without_url`: the URL can be a secret.
        let sent = request.send().await;
        let response = sent.map_err(|error| retry(causes(&error.without_url())))?;
        answer(response).await
    }
}

fn payload(message: &Message) -> Result<Vec<u8>, DeliverError> {
    let body = || -> serde_json::Result<Vec<u8>> {
        let alert: &RawValue = serde_json::from_str(&message.body)?;
        serde_json::to_vec(&Payload { version: VERSION, id: &message.id, alert })
    };
    // The same bytes would fail again, so it is not tried again.
    body().map_err(|error| DeliverError::Rejected { why: format!("no JSON: {error}") })
}

async fn read(secret: &Secret) -> Result<String, DeliverError> {
    if let Secret::Given(text) = secret {
        return Ok(text.clone());
    }
    // A file can be on a network that hangs; the outbox's own timeout ends the wait.
    let secret = secret.clone();
    let text = tokio::task::spawn_blocking(move || secret.read()).await;
    let text = text.map_err(|panic| retry(panic.to_string()))?;
    text.map_err(|error| retry(causes(&error)))
}

/// What the outbox is to do after an answer.
async fn answer(response: Response) -> Result<(), DeliverError> {
    let status = response.status();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|it| it.to_str().ok())
        .and_then(|it| retry_after(it, SystemClock.now()));
    // Also after a 2xx: an answer that breaks off is no promise, and the id makes a repetition
    // harmless.
    let text = text(response).await?;
    if status.is_success() {
        return Ok(());
    }
    let why = format!("{status} {}", plain::text_of(text.trim(), WHY_CHARS_MAX));
    let why = why.trim_end().to_owned();
    if busy(status) {
        Err(DeliverError::Retry { after, why })
    } else {
        Err(DeliverError::Rejected { why })
    }
}

/// Whether the same request can succeed later.
fn busy(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

async fn text(mut response: Response) -> Result<String, DeliverError> {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        let chunk = response.chunk().await;
        match chunk.map_err(|error| retry(causes(&error.without_url())))? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => break,
        }
    }
    bytes.truncate(ANSWER_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3). `now` in µs.
fn retry_after(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    // A date that is over means now.
    Some(Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
}

fn retry(why: String) -> DeliverError {
    DeliverError::Retry { after: None, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 1_795_401_553_000_000; // Mon, 23 Nov 2026 02:39:13 GMT
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        let date = "Mon, 23 Nov 2026 02:40:13 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Mon, 23 Nov 2020 02:40:13 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
        for (yaml, want) in [
            ("{kind: webhook}", "url: give one of url, url_file and url_env"),
            ("{kind: webhook, url: 'ftp://x'}", "url: \"ftp\" is neither http nor https"),
            (
                "{kind: webhook, url: 'http://x', url_env: X}",
                "give only one of url, url_file and url_env",
            ),
            (
                "{kind: webhook, url: 'http://x', timeout: 2m}",
                "timeout: 2m is not within 100ms and 50s",
            ),
            ("{kind: webhook, ulr: 'http://x'}", "unknown key \"ulr\"; did you mean \"url\"?"),
        ] {
            let settings: Settings = yaml_serde::from_str(yaml).unwrap();
            assert_eq!(build(&settings).err().unwrap().to_string(), want, "{yaml}");
        }
    }
}
