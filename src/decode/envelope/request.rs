//! The path of a request -> the object it is about, as the API server itself reads it
//! (`k8s.io/apiserver/pkg/endpoints/request`, `RequestInfoFactory`).

use std::borrow::Cow;

use super::native::Native;
use crate::event::Field;

/// Subresources of a namespace; any other word there is a resource in it.
const OF_NAMESPACE: [&str; 2] = ["status", "finalize"];

/// Words before a resource that say what is done with it.
const SPECIAL: [&str; 2] = ["proxy", "watch"];

/// What a request is about. Empty: not told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

impl Object {
    /// Of `/api/v1/…` or `/apis/GROUP/VERSION/…`. `None`: the path is of no resource.
    pub(super) fn of_uri(uri: &str) -> Option<Object> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let parts: Vec<Cow<'_, str>> =
            path.trim_matches('/').split('/').map(|it| decoded(it, false)).collect();
        let parts: Vec<&str> = parts.iter().map(Cow::as_ref).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let rest = match rest {
            [first, after @ ..] if SPECIAL.contains(first) && !after.is_empty() => after,
            _ => rest,
        };
        let mut object = Object::within(group, version, rest)?;
        if object.name.is_empty() {
            object.name = selected(query).unwrap_or_default();
        }
        Some(object)
    }

    /// Of what follows the version.
    pub(super) fn within(group: &str, version: &str, rest: &[&str]) -> Option<Object> {
        let (namespace, rest) = match rest {
            ["namespaces", namespace, resource, ..] if !OF_NAMESPACE.contains(resource) => {
                (*namespace, rest.get(2..).unwrap_or_default())
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let part = |at: usize| rest.get(at).map(|it| (*it).to_owned()).unwrap_or_default();
        let object = Object {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
        };
        (!object.resource.is_empty()).then_some(object)
    }

    /// Tells the fields of the object, all of them in other words than the API server's.
    pub(super) fn infer(&self, native: &mut Native) {
        native.infer(Field::ApiGroup, &self.group);
        native.infer(Field::ObjectApiVersion, &self.version);
        native.infer(Field::Namespace, &self.namespace);
        native.infer(Field::Resource, &self.resource);
        native.infer(Field::Name, &self.name);
        native.infer(Field::Subresource, &self.subresource);
    }
}

/// The one name that a field selector lets through.
fn selected(query: &str) -> Option<String> {
    let selector = query.split('&').find_map(|it| it.strip_prefix("fieldSelector="))?;
    let selector = decoded(selector, true);
    let named = selector.split(',').find_map(|it| it.strip_prefix("metadata.name="))?;
    let named = named.strip_prefix('=').unwrap_or(named);
    (!named.contains(['/', '%'])).then(|| named.to_owned())
}

/// Percent-encoding undone; `+` is a blank in a query.
fn decoded(text: &str, query: bool) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match (first, hex.and_then(|it| u8::from_str_radix(it, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) if query => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str) -> Option<[String; 6]> {
        Object::of_uri(uri)
            .map(|it| [it.group, it.version, it.namespace, it.resource, it.name, it.subresource])
    }

    #[test]
    fn paths_are_read_as_the_api_server_reads_them() {
        for (uri, want) in [
            ("/api/v1/pods", ["", "v1", "", "pods", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "a", "namespaces", "a", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "a", "namespaces", "a", "finalize"]),
            ("/api/v1/namespaces/a/pods", ["", "v1", "a", "pods", "", ""]),
            (
                "/api/v1/namespaces/a/pods/%C3%A9/exec?command=sh",
                ["", "v1", "a", "pods", "é", "exec"],
            ),
            (
                "/api/v1/namespaces/a/services/s/proxy/x/y",
                ["", "v1", "a", "services", "s", "proxy"],
            ),
            ("/api/v1/watch/namespaces/a/pods/p", ["", "v1", "a", "pods", "p", ""]),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                ["apps", "v1", "a", "deployments", "d", "scale"],
            ),
            (
                "/api/v1/pods?fieldSelector=metadata.name%3Dp&watch=true",
                ["", "v1", "", "pods", "p", ""],
            ),
        ] {
            assert_eq!(told(uri).unwrap(), want, "{uri}");
        }
        for uri in [
            "/",
            "/healthz",
            "/api",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1?timeout=32s",
            "x",
            "%",
        ] {
            assert_eq!(told(uri), None, "{uri}");
        }
    }
}
