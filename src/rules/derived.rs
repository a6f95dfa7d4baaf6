//! Fields that no audit event has and that rules need: `kustos.*`, computed from
//! the event's own text.
//!
//! Names in them are chosen by whoever may be the attacker, so everything here is
//! parsed by position and nothing is searched for.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::scratch::Context;
use super::spare;
use crate::event::Field;

/// One computed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Derived {
    UserNamespace,
    ServiceAccount,
    UserKind,
    RbacRole,
    RbacRoleKind,
    RbacBinding,
    SameNamespace,
    TokenForSelf,
    SourceIp,
    Client,
    FailedOpen,
    AuditIdForm,
    Outcome,
}

impl Derived {
    /// What computing it costs, in nanoseconds, roughly.
    pub(super) fn cost(self) -> u32 {
        match self {
            Derived::RbacRole | Derived::RbacRoleKind | Derived::RbacBinding => 150,
            _ => 40,
        }
    }

    /// The fields it is computed from.
    pub(super) fn sources(self) -> &'static [Field] {
        match self {
            Derived::UserNamespace | Derived::ServiceAccount | Derived::UserKind => {
                &[Field::Username]
            }
            Derived::RbacRole | Derived::RbacRoleKind | Derived::RbacBinding => {
                &[Field::DecisionReason]
            }
            Derived::SameNamespace => &[Field::Username, Field::Namespace],
            Derived::TokenForSelf => &[
                Field::Username,
                Field::Resource,
                Field::Subresource,
                Field::Namespace,
                Field::Name,
            ],
            Derived::SourceIp => &[Field::SourceIps],
            Derived::Client => &[Field::UserAgent],
            Derived::FailedOpen => &[Field::Annotations],
            Derived::AuditIdForm => &[Field::AuditId],
            Derived::Outcome => &[Field::Decision],
        }
    }

    /// Shows the field's text to `visit`, unless it is missing.
    pub(super) fn visit(
        self,
        context: &Context<'_, '_>,
        visit: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        let event = context.event;
        let user = || event.text(Field::Username);
        match self {
            Derived::UserNamespace => {
                user().is_some_and(|it| service_account(&it).is_some_and(|(space, _)| visit(space)))
            }
            Derived::ServiceAccount => {
                user().is_some_and(|it| service_account(&it).is_some_and(|(_, name)| visit(name)))
            }
            Derived::UserKind => user().is_some_and(|it| kind(&it).is_some_and(visit)),
            Derived::RbacRole => context.reason().is_some_and(|it| visit(&it.role)),
            Derived::RbacRoleKind => context.reason().is_some_and(|it| visit(&it.role_kind)),
            Derived::RbacBinding => context.reason().is_some_and(|it| visit(&it.binding)),
            Derived::SameNamespace => same_namespace(context).is_some_and(|it| visit(word(it))),
            Derived::TokenForSelf => token_for_self(context).is_some_and(|it| visit(word(it))),
            Derived::SourceIp => last_source_ip(context).is_some_and(|it| visit(&it)),
            Derived::Client => event.text(Field::UserAgent).is_some_and(|it| visit(client(&it))),
            Derived::FailedOpen => {
                event.json(Field::Annotations).is_some_and(failed_open) && visit(word(true))
            }
            Derived::AuditIdForm => {
                event.text(Field::AuditId).is_some_and(|it| visit(id_form(&it)))
            }
            Derived::Outcome => outcome(context).is_some_and(visit),
        }
    }
}

fn word(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// Namespace and name out of `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (space, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let whole = !space.is_empty() && !name.is_empty() && !name.contains(':');
    whole.then_some((space, name))
}

/// Who a username belongs to. An empty one is nobody: authentication failed.
fn kind(user: &str) -> Option<&'static str> {
    if user.is_empty() {
        return None;
    }
    Some(match user {
        "system:anonymous" => "anonymous",
        _ if service_account(user).is_some() => "serviceaccount",
        _ if user.starts_with("system:node:") => "node",
        _ if user.starts_with("system:") => "system",
        _ => "person",
    })
}

/// Whether a service account acts in its own namespace, and not on another or on the
/// whole cluster. Missing for other callers.
fn same_namespace(context: &Context<'_, '_>) -> Option<bool> {
    let user = context.event.text(Field::Username)?;
    let (own, _) = service_account(&user)?;
    Some(context.event.text(Field::Namespace).is_some_and(|it| it == own))
}

/// For requests to `serviceaccounts/token`: whether the caller asks for its own.
fn token_for_self(context: &Context<'_, '_>) -> Option<bool> {
    let is = |field, word| context.event.text(field).is_some_and(|it| it == word);
    if !is(Field::Resource, "serviceaccounts") || !is(Field::Subresource, "token") {
        return None;
    }
    let user = context.event.text(Field::Username).unwrap_or_default();
    let own = service_account(&user);
    Some(own.is_some_and(|(space, name)| is(Field::Namespace, space) && is(Field::Name, name)))
}

/// The address the connection came from. All before it are the client's own words
/// (`X-Forwarded-For`).
fn last_source_ip<'e>(context: &Context<'_, 'e>) -> Option<Cow<'e, str>> {
    context.event.last(Field::SourceIps)
}

/// The program a user agent names, without its version and what follows: `kubectl`.
fn client(user_agent: &str) -> &str {
    user_agent.split(['/', ' ']).next().unwrap_or_default()
}

/// Whether an audit ID is one that the API server makes: a UUID in lower case.
fn id_form(id: &str) -> &'static str {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| {
        if DASHES.contains(&at) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
    };
    let uuid = id.len() == 36 && id.bytes().enumerate().all(fits);
    if uuid { "uuid" } else { "other" }
}

/// Whether the annotations, as JSON, have a key that says that a webhook failed open. Which webhook of
/// how many it was stands in the key, so that no path leads to it.
fn failed_open(annotations: &str) -> bool {
    static KEY: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"failed-open."));
    let mut found = KEY.find_iter(annotations.as_bytes());
    // Within a value the quote would follow a backslash, and a value follows a colon.
    found.any(|at| {
        let before = annotations.get(..at).unwrap_or_default().trim_end();
        before.ends_with(['{', ','])
    })
}

/// The authorizer's decision in ECS's words. Missing where there was none.
fn outcome(context: &Context<'_, '_>) -> Option<&'static str> {
    match &*context.event.text(Field::Decision)? {
        "allow" => Some("success"),
        "forbid" => Some("failure"),
        _ => None,
    }
}

/// What RBAC says when it allows a request:
/// `RBAC: allowed by KIND "BINDING" of KIND "ROLE" to KIND "SUBJECT"`.
///
/// The names are in Go's quotes, so a name that contains a quote cannot end early
/// and pretend to be the rest of the sentence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reason {
    /// As printed: a `RoleBinding`'s name is followed by a slash and its namespace.
    pub(super) binding: String,
    pub(super) role_kind: String,
    pub(super) role: String,
}

impl Reason {
    /// Reads the whole sentence over what is here; `None` and anything: it is not that sentence.
    pub(super) fn read(&mut self, text: &str) -> Option<()> {
        let rest = text.strip_prefix("RBAC: allowed by ")?;
        let rest = rest
            .strip_prefix("ClusterRoleBinding ")
            .or_else(|| rest.strip_prefix("RoleBinding "))?;
        let rest = quoted(rest, &mut self.binding)?;
        let (role_kind, rest) = rest.strip_prefix(" of ")?.split_once(' ')?;
        if !matches!(role_kind, "ClusterRole" | "Role") {
            return None;
        }
        self.role_kind.clear();
        self.role_kind.push_str(role_kind);
        let rest = quoted(rest, &mut self.role)?;
        let (subject_kind, rest) = rest.strip_prefix(" to ")?.split_once(' ')?;
        let rest = spare::buffer(|it| quoted(rest, it).map(str::is_empty))?;
        let whole = rest && matches!(subject_kind, "User" | "Group" | "ServiceAccount");
        whole.then_some(())
    }
}

/// The string in Go's double quotes at the start of `text`; gives what follows it.
/// Go's escapes that no name needs (`\x07`, `\u00e9`) are kept as they are written.
fn quoted<'t>(text: &'t str, content: &mut String) -> Option<&'t str> {
    content.clear();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let (plain, special) = rest.split_at(memchr::memchr2(b'"', b'\\', rest.as_bytes())?);
        content.push_str(plain);
        if let Some(after) = special.strip_prefix('"') {
            return Some(after);
        }
        let mut escaped = special.strip_prefix('\\')?.chars();
        match escaped.next()? {
            quote @ ('"' | '\\') => content.push(quote),
            other => content.extend(['\\', other]),
        }
        rest = escaped.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_told_apart() {
        assert_eq!(kind("system:anonymous"), Some("anonymous"));
        assert_eq!(kind("system:serviceaccount:kube-system:x"), Some("serviceaccount"));
        assert_eq!(kind("system:serviceaccount:kube-system"), Some("system"));
        assert_eq!(kind("system:node:a"), Some("node"));
        assert_eq!(kind("system:kube-scheduler"), Some("system"));
        assert_eq!(kind("alice"), Some("person"));
        assert_eq!(kind(""), None);
        assert_eq!(service_account("system:serviceaccount:ns:name"), Some(("ns", "name")));
        assert_eq!(service_account("system:serviceaccount:ns:a:b"), None);
    }

    #[test]
    fn a_client_is_named_without_its_version() {
        assert_eq!(client("kubectl/v1.36.4 (linux/amd64) kubernetes/unknown"), "kubectl");
        assert_eq!(client("Go-http-client/2.0"), "Go-http-client");
        assert_eq!((client("curl"), client("a b/1"), client("/1")), ("curl", "a", ""));
    }

    #[test]
    fn an_audit_id_that_the_api_server_makes_is_a_uuid_in_lower_case() {
        assert_eq!(id_form("cdc5081f-5d8f-4d4f-ae49-44906b119f23"), "uuid");
        for id in [
            "",
            "x",
            "CDC5081F-5D8F-4D4F-AE49-44906B119F23",
            "cdc5081f05d8f-4d4f-ae49-44906b119f23",
        ] {
            assert_eq!(id_form(id), "other", "{id}");
        }
    }

    #[test]
    fn only_a_key_says_that_a_webhook_failed_open() {
        let webhook = "failed-open.validating.webhook.admission.k8s.io/round_0_index_7";
        assert!(failed_open(&format!(r#"{{"{webhook}":"x"}}"#)));
        assert!(failed_open(&format!(r#"{{"a":"b", "{webhook}":"x"}}"#)));
        assert!(!failed_open(&format!(r#"{{"a":"{webhook}"}}"#)));
        assert!(!failed_open(&format!(r#"{{"a":"{{\"{webhook}\":1,\"{webhook}\"}}"}}"#)));
        assert!(!failed_open("{}"));
    }

    fn parse(text: &str) -> Option<Reason> {
        let mut reason = Reason::default();
        reason.read(text).map(|()| reason)
    }

    #[test]
    fn the_reason_is_read_by_position() {
        let text = r#"RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "cluster-admin" to ServiceAccount "a/b""#;
        let reason = parse(text).unwrap();
        assert_eq!((&*reason.binding, &*reason.role_kind), ("x", "ClusterRole"));
        assert_eq!(reason.role, "cluster-admin");
        assert_eq!(parse(""), None);
        assert_eq!(parse(&format!("{text} and more")), None);
    }

    #[test]
    fn a_binding_cannot_pretend_to_be_of_another_role() {
        let text = r#"RBAC: allowed by ClusterRoleBinding "x\" of ClusterRole \"cluster-admin" of ClusterRole "view" to User "eve""#;
        let reason = parse(text).unwrap();
        assert_eq!(reason.role, "view");
        assert_eq!(reason.binding, r#"x" of ClusterRole "cluster-admin"#);
    }
}
