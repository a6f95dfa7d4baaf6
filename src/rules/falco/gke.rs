//! Audit fields out of a Google Cloud `LogEntry`, for events that reach rules as GKE
//! writes them.
//!
//! Falco's GKE plugin invents a status of 200 or 201 for every entry; here it is the one
//! in the entry, by Google's own mapping of gRPC codes to HTTP's.

use std::borrow::Cow;

use super::json::Json;
use crate::event::Field;
use crate::rules::scratch::{Context, Root};

/// The `protoPayload` of a `LogEntry` about a request to the Kubernetes API.
pub(super) fn entry<'v>(context: &Context<'v, 'v>) -> Option<Json<'v>> {
    if context.audit || !context.has_key("protoPayload") {
        return None;
    }
    let payload = Json::root(context, Root::Line)?.get("protoPayload")?;
    (payload.get("serviceName")?.text() == "k8s.io").then_some(payload)
}

/// When the entry was received, in microseconds since 1970.
pub(super) fn micros(context: &Context<'_, '_>) -> Option<i64> {
    entry(context)?;
    let line = Json::root(context, Root::Line)?;
    let time = line.get("receiveTimestamp").or_else(|| line.get("timestamp"))?;
    crate::event::micros(&time.text())
}

/// A plain audit field of the entry.
pub(super) fn plain<'v>(context: &Context<'v, 'v>, field: Field) -> Option<Cow<'v, str>> {
    let payload = entry(context)?;
    let text = |keys: &[&str]| payload.at(keys).map(Json::text);
    let label = |key| Json::root(context, Root::Line)?.at(&["labels", key]).map(Json::text);
    match field {
        Field::Username => text(&["authenticationInfo", "principalEmail"]),
        Field::UserAgent => text(&["requestMetadata", "callerSuppliedUserAgent"]),
        Field::SourceIps => text(&["requestMetadata", "callerIp"]),
        Field::Verb => {
            let method = text(&["methodName"])?;
            method.rsplit('.').next().map(|it| it.to_owned().into())
        }
        Field::RequestUri => text(&["resourceName"]).map(|it| format!("/{it}").into()),
        Field::Code => code(payload),
        Field::Message => text(&["status", "message"]),
        Field::Decision => label("authorization.k8s.io/decision"),
        Field::DecisionReason => label("authorization.k8s.io/reason"),
        Field::ApiGroup
        | Field::ObjectApiVersion
        | Field::Namespace
        | Field::Resource
        | Field::Name
        | Field::Subresource => object(&text(&["resourceName"])?, field),
        _ => None,
    }
}

/// `core/v1/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`, or without a namespace
/// `GROUP/VERSION/RESOURCE/NAME/SUBRESOURCE`; what stands at the end may be left out.
fn object(name: &str, field: Field) -> Option<Cow<'static, str>> {
    let parts: Vec<&str> = name.split('/').collect();
    let spaced = parts.get(2) == Some(&"namespaces") && parts.len() > 4;
    let from = if spaced { 4 } else { 2 };
    let found = match field {
        Field::ApiGroup => parts.first().filter(|it| **it != "core"),
        Field::ObjectApiVersion => parts.get(1),
        Field::Namespace if spaced => parts.get(3),
        Field::Resource => parts.get(from),
        Field::Name => parts.get(from + 1),
        Field::Subresource => parts.get(from + 2),
        _ => None,
    };
    found.map(|it| (*it).to_owned().into())
}

/// HTTP's code for each gRPC code, in their order (google.rpc.Code).
const HTTP: [&str; 17] = [
    "200", "499", "500", "400", "504", "404", "409", "403", "429", "400", "409", "400", "501",
    "500", "503", "500", "401",
];

/// An entry without a status says nothing. A status without a code says OK, whose
/// number 0 is left out in JSON.
fn code(payload: Json<'_>) -> Option<Cow<'_, str>> {
    let status = payload.get("status").filter(|it| it.is_object())?;
    let number: usize = match status.get("code") {
        Some(code) => code.text().parse().ok()?,
        None => 0,
    };
    HTTP.get(number).map(|it| Cow::Borrowed(*it))
}
