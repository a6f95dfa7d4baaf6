//! The names rules may use beyond the paths of an audit event, as tables.
//!
//! `docs/sigma.md` shows the same tables; a test keeps the two alike.

use super::derived::Derived;

/// Where a pod's spec stands in a request: in a pod, in the template of a
/// workload, in the template of a cron job, in a pod template.
pub(super) const POD_SPECS: &[&str] = &[
    "requestObject.spec",
    "requestObject.spec.template.spec",
    "requestObject.spec.jobTemplate.spec.template.spec",
    "requestObject.template.spec",
];

/// Where the containers stand in a pod's spec.
pub(super) const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// `podSpec.X`: X in any of [`POD_SPECS`].
pub(super) const POD_SPEC: &str = "podSpec";

/// `podSpec.anyContainer.X`: X in any of [`CONTAINERS`] of any of [`POD_SPECS`].
pub(super) const ANY_CONTAINER: &str = "anyContainer";

/// What every computed field's name starts with.
pub(super) const DERIVED_PREFIX: &str = "kustos.";

/// The computed fields.
pub(super) const DERIVED: &[(&str, Derived, &str)] = &[
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
];

/// Loose names, as SigmaHQ's Kubernetes rules and others use them, and the field
/// each stands for. One is used only for an audit event without a top-level field
/// of that very name.
pub(super) const LOOSE: &[(&str, &str)] = &[
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_shows_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sigma.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (name, _, meaning) in DERIVED {
            assert!(text.contains(&format!("| `{name}` | {meaning} |")), "{name}");
        }
        for (name, target) in LOOSE {
            assert!(text.contains(&format!("| `{name}` | `{target}` |")), "{name}");
        }
        for place in POD_SPECS {
            assert!(text.contains(&format!("`{place}`")), "{place}");
        }
    }
}
