//! A `LogEntry` of Google Cloud Logging -> the event, for what the entry tells.
//!
//! One rule: an entry without a status gives an event without one. A status is Google's gRPC code by Google's own
//! table (`google.rpc.Code`), and listed as inferred. The entry's members stay beside the event's fields, so that
//! rules which ask for `protoPayload` find it.

use super::json::{Object, array, at_value};
use super::native::{Native, list};
use super::request::Object as About;
use super::taken::Taken;
use crate::decode::row::Provider;
use crate::event::{Field, Flaw, micros, unquote};

/// The audit log of GKE's API servers.
const SERVICE: &str = "k8s.io";

/// HTTP's code for each gRPC code, in their order (google.rpc.Code).
const HTTP: [u16; 17] =
    [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];

const DECISION: &str = "authorization.k8s.io/decision";

/// The event of an entry. `None`: it is no `LogEntry` of an audit log.
pub(super) fn open(text: &str, entry: &Object<'_>) -> Option<Taken> {
    let payload = entry.inner("protoPayload")?;
    let method = payload.string("methodName").unwrap_or_default();
    let service = payload.string("serviceName");
    let cluster = entry
        .inner("resource")
        .is_some_and(|it| it.string("type").as_deref() == Some("k8s_cluster"));
    let kubernetes = match &service {
        Some(name) => name == SERVICE,
        None => cluster && method.starts_with("io.k8s."),
    };
    if !kubernetes {
        return Some(Taken::other(Provider::Gke, Flaw::OtherLog));
    }
    let mut native = Native::default();
    told(&mut native, entry, &payload);
    about(&mut native, &method, &payload.string("resourceName").unwrap_or_default());
    status(&mut native, &payload);
    decision(&mut native, entry, &payload);
    operation(&mut native, entry);
    let beside = text.get(at_value(text).at..)?.trim_end();
    let beside = beside.strip_prefix('{')?.strip_suffix('}')?;
    Some(native.taken(beside, Provider::Gke))
}

/// What stands in the entry as it is.
fn told(native: &mut Native, entry: &Object<'_>, payload: &Object<'_>) {
    let text =
        |object: &str, key: &str| payload.inner(object)?.string(key).map(|it| it.into_owned());
    for (field, value) in [
        (Field::Username, text("authenticationInfo", "principalEmail")),
        (Field::UserAgent, text("requestMetadata", "callerSuppliedUserAgent")),
        (Field::Message, text("status", "message")),
    ] {
        value.into_iter().for_each(|it| native.text(field, &it));
    }
    if let Some(ip) = text("requestMetadata", "callerIp") {
        native.json(Field::SourceIps, &list(&[ip]));
    }
    let objects = [
        (Field::RequestObject, payload.get("request")),
        (Field::ResponseObject, payload.get("response")),
        (Field::Annotations, entry.get("labels")),
    ];
    for (field, json) in objects {
        json.filter(|it| it.starts_with('{')).into_iter().for_each(|it| native.json(field, it));
    }
}

/// What was done to what: `io.k8s.GROUP.VERSION.RESOURCE[.SUBRESOURCE].VERB` and
/// `GROUP/VERSION/[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]`.
fn about(native: &mut Native, method: &str, name: &str) {
    if let Some((_, verb)) = method.rsplit_once('.') {
        native.infer(Field::Verb, verb);
    }
    let parts: Vec<&str> = name.split('/').collect();
    let object = match parts.as_slice() {
        [group, version, rest @ ..] if is_version(version) => {
            About::within(if *group == "core" { "" } else { group }, version, rest)
        }
        _ => None,
    };
    match object {
        Some(object) => object.infer(native),
        // A request for no resource, such as `readyz`, has its path there.
        None if !name.is_empty() && !method.split('.').any(is_version) => {
            native.infer(Field::RequestUri, &format!("/{}", name.trim_start_matches('/')));
        }
        None => {}
    }
}

/// `v1`, `v2beta1`.
fn is_version(part: &str) -> bool {
    let digits = part.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|it: char| it.is_ascii_digit())
        && digits.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
}

/// An entry without a status says nothing. A status without a code says OK, whose number 0 is
/// left out in JSON.
fn status(native: &mut Native, payload: &Object<'_>) {
    let Some(status) = payload.inner("status") else { return };
    let number = status.get("code").map_or(Some(0), |it| it.parse::<usize>().ok());
    if let Some(code) = number.and_then(|it| HTTP.get(it)) {
        native.infer_number(Field::Code, *code);
    }
}

/// The label says it as the API server did; otherwise every authorization that says so counts. What was not
/// granted may be left out in JSON, so nothing is concluded from that.
fn decision(native: &mut Native, entry: &Object<'_>, payload: &Object<'_>) {
    if entry.inner("labels").is_some_and(|it| it.has(DECISION)) {
        return;
    }
    let Some(asked) = payload.get("authorizationInfo") else { return };
    let said: Vec<Option<&str>> = array(asked)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|it| Object::of(asked.get(it)?))
        .map(|it| it.get("granted"))
        .collect();
    if said.contains(&Some("false")) {
        native.infer(Field::Decision, "forbid");
    } else if !said.is_empty() && said.iter().all(|it| *it == Some("true")) {
        native.infer(Field::Decision, "allow");
    }
}

/// The request's audit ID, how far it is, and when. An entry is written once the request has been answered, or
/// twice, the first time when a long one begins.
fn operation(native: &mut Native, entry: &Object<'_>) {
    let operation = entry.inner("operation");
    let flag = |key| operation.as_ref().and_then(|it| it.get(key)) == Some("true");
    if let Some(id) = operation.as_ref().and_then(|it| it.string("id")) {
        native.infer(Field::AuditId, &id);
    }
    let begins = flag("first") && !flag("last");
    native.infer(Field::Stage, if begins { "ResponseStarted" } else { "ResponseComplete" });
    let time = entry.get("timestamp").and_then(unquote).filter(|it| micros(it).is_some());
    time.into_iter().for_each(|it| native.infer(Field::StageTimestamp, &it));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{line, open as opened, stored};
    use crate::event::Event;

    fn entry(method: &str, name: &str, more: &str) -> String {
        format!(
            r#"{{"insertId":"1","timestamp":"2026-11-23T03:39:13.5Z","operation":{{"id":"op","first":true,"last":true}},"protoPayload":{{"serviceName":"k8s.io","methodName":"{method}","resourceName":"{name}","authenticationInfo":{{"principalEmail":"eve@x.io"}}{more}}}}}"#
        )
    }

    fn fields<const N: usize>(text: &str, fields: [Field; N]) -> [String; N] {
        let told = |event: &Event<'_>| {
            fields.map(|it| event.json(it).unwrap_or("-").trim_matches('"').to_owned())
        };
        stored(text.as_bytes(), told).unwrap()
    }

    #[test]
    fn the_object_is_found_in_every_form_of_a_name() {
        use Field as F;
        for (method, name, want) in [
            (
                "io.k8s.core.v1.pods.exec.create",
                "core/v1/namespaces/a/pods/p/exec",
                ["create", "-", "v1", "a", "pods", "p", "exec"],
            ),
            (
                "io.k8s.core.v1.pods.list",
                "core/v1/namespaces/a/pods",
                ["list", "-", "v1", "a", "pods", "-", "-"],
            ),
            (
                "io.k8s.core.v1.secrets.list",
                "core/v1/secrets",
                ["list", "-", "v1", "-", "secrets", "-", "-"],
            ),
            (
                "io.k8s.core.v1.namespaces.delete",
                "core/v1/namespaces/a",
                ["delete", "-", "v1", "a", "namespaces", "a", "-"],
            ),
            (
                "io.k8s.core.v1.namespaces.finalize.update",
                "core/v1/namespaces/a/finalize",
                ["update", "-", "v1", "a", "namespaces", "a", "finalize"],
            ),
            (
                "io.k8s.authorization.rbac.v1.clusterroles.patch",
                "rbac.authorization.k8s.io/v1/clusterroles/x",
                ["patch", "rbac.authorization.k8s.io", "v1", "-", "clusterroles", "x", "-"],
            ),
            (
                "com.example.v1beta1.widgets.status.update",
                "example.com/v1beta1/namespaces/a/widgets/w/status",
                ["update", "example.com", "v1beta1", "a", "widgets", "w", "status"],
            ),
        ] {
            let text = entry(method, name, "");
            let found = fields(
                &text,
                [
                    F::Verb,
                    F::ApiGroup,
                    F::ObjectApiVersion,
                    F::Namespace,
                    F::Resource,
                    F::Name,
                    F::Subresource,
                ],
            );
            assert_eq!(found, want, "{name}");
        }
        let text = entry("io.k8s.get", "readyz", "");
        assert_eq!(fields(&text, [F::Verb, F::RequestUri, F::Resource]), ["get", "/readyz", "-"]);
    }

    #[test]
    fn a_status_is_told_only_if_the_entry_has_one() {
        for (more, code, decision) in [
            ("", "-", "-"),
            (r#","status":{"code":7,"message":"no"}"#, "403", "-"),
            (r#","status":{"code":16}"#, "401", "-"),
            (r#","status":{}"#, "200", "-"),
            (r#","status":{"code":99}"#, "-", "-"),
            (r#","status":null"#, "-", "-"),
            (r#","authorizationInfo":[{"granted":true},{"granted":true}]"#, "-", "allow"),
            (r#","authorizationInfo":[{"granted":true},{"granted":false}]"#, "-", "forbid"),
            (r#","authorizationInfo":[{"permission":"x"}]"#, "-", "-"),
            (r#","authorizationInfo":[]"#, "-", "-"),
        ] {
            let text = entry("io.k8s.core.v1.pods.get", "core/v1/pods", more);
            assert_eq!(fields(&text, [Field::Code, Field::Decision]), [code, decision], "{more}");
        }
    }

    #[test]
    fn stages_are_those_of_the_operation() {
        let text = entry("io.k8s.core.v1.pods.watch", "core/v1/pods", "");
        let of = |text: &str| fields(text, [Field::Stage, Field::AuditId]);
        assert_eq!(of(&text), ["ResponseComplete", "op"]);
        assert_eq!(of(&text.replace(",\"last\":true", "")), ["ResponseStarted", "op"]);
        assert_eq!(of(&text.replace("\"operation\"", "\"o\"")), ["ResponseComplete", "-"]);
    }

    #[test]
    fn entries_of_other_services_are_marked_and_judged_as_they_are() {
        let text = entry("v1.compute.instances.insert", "x", "")
            .replace("k8s.io", "compute.googleapis.com");
        let found = opened(text.as_bytes(), &line(text.as_bytes())).unwrap();
        let rows = found.rows(text.as_bytes());
        assert_eq!(rows[0].flaw(), Some(Flaw::OtherLog));
        assert_eq!(rows[0].event.as_ref().unwrap().line(), text);
    }
}
