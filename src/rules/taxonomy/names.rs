//! The names rules may use beyond the paths of an audit event.

use crate::rules::derived::Derived;

/// What every computed field's name starts with.
pub(in crate::rules) const DERIVED_PREFIX: &str = "kustos.";

/// The computed fields.
pub(in crate::rules) const DERIVED: &[(&str, Derived, &str)] = &[
    (
        "kustos.userKind",
        Derived::UserKind,
        "`anonymous`, `serviceaccount`, `node`, `system` or `person`, by the user's name",
    ),
    (
        "kustos.userNamespace",
        Derived::UserNamespace,
        "the namespace of a service account that is the user",
    ),
    (
        "kustos.serviceAccount",
        Derived::ServiceAccount,
        "the name of a service account that is the user",
    ),
    (
        "kustos.sameNamespace",
        Derived::SameNamespace,
        "`true` or `false`: the service account acts in its own namespace",
    ),
    (
        "kustos.tokenForSelf",
        Derived::TokenForSelf,
        "`true` or `false`: a `serviceaccounts/token` request is for the caller itself",
    ),
    (
        "kustos.rbacRole",
        Derived::RbacRole,
        "the role that allowed the request, from the authorizer's reason",
    ),
    ("kustos.rbacRoleKind", Derived::RbacRoleKind, "`ClusterRole` or `Role`"),
    (
        "kustos.rbacBinding",
        Derived::RbacBinding,
        "the binding that allowed the request; a `RoleBinding` as `name/namespace`",
    ),
    (
        "kustos.sourceIP",
        Derived::SourceIp,
        "the last of `sourceIPs`, the only one a client cannot set",
    ),
    (
        "kustos.client",
        Derived::Client,
        "the program that `userAgent` names, without its version: `kubectl`",
    ),
    (
        "kustos.failedOpen",
        Derived::FailedOpen,
        "`true`: an admission webhook could not be asked and was passed over",
    ),
    (
        "kustos.auditIdForm",
        Derived::AuditIdForm,
        "`uuid`, as the API server makes them, or `other`: the client chose it",
    ),
    (
        "kustos.outcome",
        Derived::Outcome,
        "`success` or `failure`: the authorizer's decision, in ECS's words",
    ),
];

/// Loose names, as SigmaHQ's Kubernetes rules and others use them, and the field
/// each stands for. One is used only for an audit event without a top-level field
/// of that very name.
pub(in crate::rules) const LOOSE: &[(&str, &str)] = &[
    ("apiGroup", "objectRef.apiGroup"),
    ("resource", "objectRef.resource"),
    ("subresource", "objectRef.subresource"),
    ("namespace", "objectRef.namespace"),
    ("name", "objectRef.name"),
    ("username", "user.username"),
    ("groups", "user.groups"),
    ("impersonatedUsername", "impersonatedUser.username"),
    ("impersonatedGroups", "impersonatedUser.groups"),
    ("sourceIP", "sourceIPs"),
    ("sourceIp", "sourceIPs"),
    ("source_ip", "sourceIPs"),
    ("user_agent", "userAgent"),
    ("request_uri", "requestURI"),
    ("requestUri", "requestURI"),
    ("code", "responseStatus.code"),
    ("statusCode", "responseStatus.code"),
    ("reason", "responseStatus.reason"),
    ("message", "responseStatus.message"),
    ("decision", "annotations.authorization\\.k8s\\.io/decision"),
    ("capabilities", "podSpec.anyContainer.securityContext.capabilities.add"),
    ("privileged", "podSpec.anyContainer.securityContext.privileged"),
    ("allowPrivilegeEscalation", "podSpec.anyContainer.securityContext.allowPrivilegeEscalation"),
    ("runAsUser", "podSpec.anyContainer.securityContext.runAsUser"),
    ("image", "podSpec.anyContainer.image"),
    ("command", "podSpec.anyContainer.command"),
    ("args", "podSpec.anyContainer.args"),
    ("hostPath", "podSpec.volumes.hostPath.path"),
    ("hostNetwork", "podSpec.hostNetwork"),
    ("hostPID", "podSpec.hostPID"),
    ("hostIPC", "podSpec.hostIPC"),
    ("serviceAccountName", "podSpec.serviceAccountName"),
    ("nodeName", "podSpec.nodeName"),
    ("roleRef", "requestObject.roleRef.name"),
    ("subjects", "requestObject.subjects.name"),
];

/// What every name of Elastic's own starts with: below it lie the raw paths, and the
/// keys of annotations with `_` for every dot.
pub(in crate::rules) const ECS_PREFIX: &str = "kubernetes.audit";

/// Names of the Elastic Common Schema, as Elastic's pipeline fills them, and the field
/// each stands for. They are used for audit events only.
pub(in crate::rules) const ECS: &[(&str, &str)] = &[
    ("user.name", "user.username"),
    ("user.id", "user.uid"),
    ("source.ip", "sourceIPs"),
    ("client.ip", "sourceIPs"),
    ("user_agent.original", "userAgent"),
    ("event.action", "verb"),
    ("event.outcome", "kustos.outcome"),
    ("container.image.name", "requestObject.spec.containers.image"),
    ("orchestrator.namespace", "objectRef.namespace"),
    ("orchestrator.api_version", "objectRef.apiVersion"),
    ("orchestrator.resource.type", "objectRef.resource"),
    ("orchestrator.resource.name", "objectRef.name"),
];

/// Values that rules look for where no event has them, and where they stand. The test
/// is read as either.
pub(in crate::rules) const READ_AS: &[ReadAs] = &[
    ReadAs { field: "responseStatus.code", value: "allow", target: DECISION },
    ReadAs { field: "responseStatus.code", value: "forbid", target: DECISION },
];

const DECISION: &str = "annotations.authorization\\.k8s\\.io/decision";

/// A value that belongs to another field: `field: value` is read as `target: value` too.
#[derive(Debug)]
pub(in crate::rules) struct ReadAs {
    pub(in crate::rules) field: &'static str,
    pub(in crate::rules) value: &'static str,
    pub(in crate::rules) target: &'static str,
}

/// Everything that a computed field can be; empty when that is no closed set.
pub(in crate::rules) fn values_of(derived: Derived) -> &'static [&'static str] {
    match derived {
        Derived::UserKind => &["anonymous", "serviceaccount", "node", "system", "person"],
        Derived::SameNamespace | Derived::TokenForSelf => &["true", "false"],
        Derived::FailedOpen => &["true"],
        Derived::AuditIdForm => &["uuid", "other"],
        Derived::RbacRoleKind => &["ClusterRole", "Role"],
        Derived::Outcome => &["success", "failure"],
        Derived::UserNamespace
        | Derived::ServiceAccount
        | Derived::RbacRole
        | Derived::RbacBinding
        | Derived::SourceIp
        | Derived::Client => &[],
    }
}
