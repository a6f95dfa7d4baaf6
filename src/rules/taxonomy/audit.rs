//! The fields of audit.k8s.io/v1 `Event`, as the API server writes them.
//!
//! See <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>.

use super::AuditLevel::{self, Metadata, Request, RequestResponse};
use super::Stages::{self, Answered, Every};
use super::words::{DECISIONS, LEVELS, STAGES, VERBS};

/// One field of an audit event.
#[derive(Debug)]
pub(in crate::rules) struct AuditField {
    /// The dotted path; a backslash before a dot that belongs to a key.
    pub(in crate::rules) path: &'static str,
    pub(in crate::rules) kind: Kind,
    /// The least level whose events carry it.
    pub(in crate::rules) level: AuditLevel,
    pub(in crate::rules) stages: Stages,
    /// Everything it can be; empty when that is no closed set.
    pub(in crate::rules) values: &'static [&'static str],
    pub(in crate::rules) what: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Kind {
    Text,
    Texts,
    /// An HTTP status.
    Code,
    Time,
    /// Known fields.
    Object,
    /// Fields whose names others choose.
    Free,
}

impl Kind {
    /// The word in `schemas/taxonomy.yaml`.
    pub(in crate::rules) fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Texts => "list of strings",
            Kind::Code => "integer",
            Kind::Time => "time",
            Kind::Object => "object",
            Kind::Free => "free-form object",
        }
    }
}

const fn field(
    path: &'static str,
    kind: Kind,
    stages: Stages,
    values: &'static [&'static str],
    what: &'static str,
) -> AuditField {
    AuditField { path, kind, level: Metadata, stages, values, what }
}

const fn body(path: &'static str, level: AuditLevel, what: &'static str) -> AuditField {
    AuditField { path, kind: Kind::Free, level, stages: Answered, values: &[], what }
}

/// Every field that has a name of its own.
#[rustfmt::skip]
pub(in crate::rules) const FIELDS: &[AuditField] = &[
    field("kind", Kind::Text, Every, &["Event"], "missing in a webhook's items"),
    field("apiVersion", Kind::Text, Every, &["audit.k8s.io/v1"], "missing in a webhook's items"),
    field("level", Kind::Text, Every, LEVELS, "how much the event tells"),
    field("auditID", Kind::Text, Every, &[], "chosen by the client if it likes; not unique"),
    field("stage", Kind::Text, Every, STAGES, "how far the request had come"),
    field("requestURI", Kind::Text, Every, &[], "path and query; the command of an `exec` stands only here"),
    field("verb", Kind::Text, Every, VERBS, "what was asked for; the HTTP method in lower case where there is no resource"),
    field("user", Kind::Object, Every, &[], "who asked"),
    field("user.username", Kind::Text, Every, &[], "missing when authentication failed"),
    field("user.uid", Kind::Text, Every, &[], "missing for users with a certificate"),
    field("user.groups", Kind::Texts, Every, &[], "`system:masters`, `system:authenticated` and so on"),
    field("user.extra", Kind::Free, Every, &[], "what the authenticator adds, each a list of strings"),
    field("impersonatedUser", Kind::Object, Answered, &[], "missing when the impersonation was refused"),
    field("impersonatedUser.username", Kind::Text, Answered, &[], "as whom"),
    field("impersonatedUser.uid", Kind::Text, Answered, &[], "as `user.uid`"),
    field("impersonatedUser.groups", Kind::Texts, Answered, &[], "as `user.groups`"),
    field("impersonatedUser.extra", Kind::Free, Answered, &[], "as `user.extra`"),
    field("authenticationMetadata", Kind::Object, Answered, &[], "since Kubernetes 1.36"),
    field("authenticationMetadata.impersonationConstraint", Kind::Text, Answered, &[], "the constraint that allowed an impersonation"),
    field("sourceIPs", Kind::Texts, Every, &[], "all but the last are the client's own words"),
    field("userAgent", Kind::Text, Every, &[], "missing when the client sent none"),
    field("objectRef", Kind::Object, Every, &[], "missing for URLs without a resource"),
    field("objectRef.resource", Kind::Text, Every, &[], "plural and in lower case: `pods`"),
    field("objectRef.namespace", Kind::Text, Every, &[], "missing for the whole cluster"),
    field("objectRef.name", Kind::Text, Every, &[], "missing in lists, and in creates until they are answered"),
    field("objectRef.uid", Kind::Text, Every, &[], "of an object that is there already"),
    field("objectRef.apiGroup", Kind::Text, Every, &[], "missing for the core group"),
    field("objectRef.apiVersion", Kind::Text, Every, &[], "without the group: `v1`"),
    field("objectRef.resourceVersion", Kind::Text, Every, &[], "of an update"),
    field("objectRef.subresource", Kind::Text, Every, &[], "`exec`, `log`, `status` and so on"),
    field("responseStatus", Kind::Object, Answered, &[], "how it ended"),
    field("responseStatus.code", Kind::Code, Answered, &[], "the HTTP status"),
    field("responseStatus.status", Kind::Text, Answered, &["Success", "Failure"], "missing in most answers that are no failure"),
    field("responseStatus.reason", Kind::Text, Answered, &[], "of a failure: `Forbidden`, `NotFound`, `Conflict` and so on"),
    field("responseStatus.message", Kind::Text, Answered, &[], "of a failure; old API servers write it at level `RequestResponse` only"),
    field("responseStatus.details", Kind::Free, Answered, &[], "of a failure"),
    field("responseStatus.metadata", Kind::Free, Answered, &[], "empty"),
    body("requestObject", Request, "the request's body: an object, a patch, or a JSON patch's list of operations"),
    body("responseObject", RequestResponse, "the response's body"),
    field("requestReceivedTimestamp", Kind::Time, Every, &[], "when the request came"),
    field("stageTimestamp", Kind::Time, Every, &[], "when it reached the stage"),
    field("annotations", Kind::Free, Every, &[], "what parts of the API server note"),
    field("annotations.authorization\\.k8s\\.io/decision", Kind::Text, Answered, DECISIONS, "the authorizer's decision; `allow` with code 403 is a refusal by admission"),
    field("annotations.authorization\\.k8s\\.io/reason", Kind::Text, Answered, &[], "which binding of which role allowed it; see `kustos.rbacRole`"),
    field("annotations.audit\\.k8s\\.io/truncated", Kind::Text, Every, &["true"], "the event was too large, and both bodies are gone"),
];

/// Keys of `annotations` beyond those in [`FIELDS`]. `N` stands for a number.
#[rustfmt::skip]
pub(in crate::rules) const ANNOTATIONS: &[(&str, &str)] = &[
    ("pod-security.kubernetes.io/enforce-policy", "the Pod Security policy that was enforced: `baseline:latest`"),
    ("pod-security.kubernetes.io/audit-violations", "what the audited Pod Security policy forbids"),
    ("pod-security.kubernetes.io/exempt", "why Pod Security did not apply: `user`, `namespace` or `runtimeClass`"),
    ("k8s.io/deprecated", "`true`: the API version is deprecated"),
    ("k8s.io/removed-release", "the release without that API version"),
    ("authentication.k8s.io/legacy-token", "a service account's token that never expires was used"),
    ("authentication.k8s.io/legacy-token-manual-secret", "the secret that holds it"),
    ("authentication.k8s.io/legacy-token-autogenerated-secret", "the secret that holds it"),
    ("authentication.k8s.io/stale-token", "a token past its bounded life was used"),
    ("authentication.kubernetes.io/issued-credential-id", "the id of the token that was minted"),
    ("mutation.webhook.admission.k8s.io/round_N_index_N", "which webhook changed the object"),
    ("patch.webhook.admission.k8s.io/round_N_index_N", "what it changed"),
    ("failed-open.mutation.webhook.admission.k8s.io/round_N_index_N", "a webhook that failed and was passed over"),
    ("failed-open.validating.webhook.admission.k8s.io/round_N_index_N", "a webhook that failed and was passed over"),
    ("validation.policy.admission.k8s.io/validation_failure", "the admission policy that found fault"),
    ("apiserver.latency.k8s.io/total", "how long it took; also `etcd`, `authentication` and so on"),
    ("authentication.openshift.io/decision", "OpenShift's log-in: `allow`, `deny` or `error`"),
    ("authentication.openshift.io/username", "who tried to log in"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Field;

    #[test]
    fn whatever_the_decoder_finds_is_described() {
        for field in Field::all() {
            assert!(FIELDS.iter().any(|it| it.path == field.path()), "{}", field.path());
        }
    }
}
