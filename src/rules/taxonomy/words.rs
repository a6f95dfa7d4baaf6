//! Values that are a closed set, well-known ones, and what people write instead.

/// Every `verb`: those of resources, then HTTP methods where there is none.
pub(super) const VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "head",
    "options",
    "post",
    "put",
    "trace",
];

/// Every `level`; events of level `None` are not written.
pub(super) const LEVELS: &[&str] = &["Metadata", "Request", "RequestResponse"];

/// Every `stage`.
pub(super) const STAGES: &[&str] =
    &["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// What the authorizer decides.
pub(super) const DECISIONS: &[&str] = &["allow", "forbid"];

/// Names that no audit event has, in lower case, and the ones that are meant.
pub(in crate::rules) const FIELD_MISTAKES: &[(&str, &str)] = &[
    ("annotations.decision", "annotations.authorization.k8s.io/decision"),
    ("annotations.reason", "annotations.authorization.k8s.io/reason"),
    ("annotations.authorization.k8s.io.decision", "annotations.authorization.k8s.io/decision"),
    ("annotations.authorization.k8s.io.reason", "annotations.authorization.k8s.io/reason"),
    ("clientip", "sourceIPs"),
    ("objectref.group", "objectRef.apiGroup"),
    ("objectref.kind", "objectRef.resource"),
    ("objectref.verb", "verb"),
    ("objectref.version", "objectRef.apiVersion"),
    ("podspec.hostpath", "podSpec.volumes.hostPath"),
    ("podspec.image", "podSpec.anyContainer.image"),
    ("podspec.command", "podSpec.anyContainer.command"),
    ("podspec.args", "podSpec.anyContainer.args"),
    ("podspec.env", "podSpec.anyContainer.env"),
    ("podspec.volumemounts", "podSpec.anyContainer.volumeMounts"),
    ("requestbody", "requestObject"),
    ("response.code", "responseStatus.code"),
    ("responsebody", "responseObject"),
    ("responsecode", "responseStatus.code"),
    ("responsestatus", "responseStatus.code"),
    ("serviceaccount", "kustos.serviceAccount"),
    ("timestamp", "stageTimestamp"),
    ("@timestamp", "stageTimestamp"),
    ("uri", "requestURI"),
    ("url", "requestURI"),
    ("objectref", "objectRef.resource"),
    ("user", "user.username"),
    ("impersonateduser", "impersonatedUser.username"),
];

/// Values that a field never has, in lower case, and what is meant.
pub(in crate::rules) const VALUE_MISTAKES: &[(&str, &str, &str)] = &[
    ("annotations.authorization.k8s.io/decision", "deny", "forbid"),
    ("annotations.authorization.k8s.io/decision", "denied", "forbid"),
    ("annotations.authorization.k8s.io/decision", "forbidden", "forbid"),
    ("annotations.authorization.k8s.io/decision", "reject", "forbid"),
    ("annotations.authorization.k8s.io/decision", "false", "forbid"),
    ("annotations.authorization.k8s.io/decision", "true", "allow"),
    ("annotations.authorization.k8s.io/decision", "success", "allow"),
    ("kustos.outcome", "allow", "success"),
    ("kustos.outcome", "forbid", "failure"),
    ("level", "requestreponse", "RequestResponse"),
    ("level", "response", "RequestResponse"),
    ("objectRef.subresource", "logs", "log"),
    ("objectRef.subresource", "port-forward", "portforward"),
    ("objectRef.subresource", "ephemeralcontainer", "ephemeralcontainers"),
    ("objectRef.subresource", "tokens", "token"),
    ("objectRef.subresource", "bindings", "binding"),
    ("objectRef.subresource", "evictions", "eviction"),
    ("responseStatus.code", "deny", "annotations.authorization.k8s.io/decision: forbid"),
    ("responseStatus.code", "success", "responseStatus.status: Success"),
    ("responseStatus.code", "failure", "responseStatus.status: Failure"),
    ("responseStatus.code", "forbidden", "403"),
    ("responseStatus.code", "unauthorized", "401"),
    ("stage", "complete", "ResponseComplete"),
    ("stage", "completed", "ResponseComplete"),
    ("stage", "request", "RequestReceived"),
    ("user.groups", "system:master", "system:masters"),
    ("user.groups", "system:serviceaccount", "system:serviceaccounts"),
    ("verb", "add", "create"),
    ("verb", "apply", "patch"),
    ("verb", "approve", "objectRef.subresource: approval"),
    ("verb", "attach", "objectRef.subresource: attach"),
    ("verb", "connect", "create"),
    ("verb", "edit", "update"),
    ("verb", "evict", "objectRef.subresource: eviction"),
    ("verb", "exec", "objectRef.subresource: exec"),
    ("verb", "impersonate", "impersonatedUser.username"),
    ("verb", "modify", "update"),
    ("verb", "portforward", "objectRef.subresource: portforward"),
    ("verb", "proxy", "objectRef.subresource: proxy"),
    ("verb", "read", "get"),
    ("verb", "remove", "delete"),
    ("verb", "replace", "update"),
    ("verb", "write", "update"),
];

/// Kind, resource and short names of what Kubernetes itself serves. The resource is
/// what `objectRef.resource` says; people write the others.
#[rustfmt::skip]
const RESOURCES: &[(&str, &str, &[&str])] = &[
    ("apiservice", "apiservices", &[]),
    ("certificatesigningrequest", "certificatesigningrequests", &["csr"]),
    ("clusterrole", "clusterroles", &[]),
    ("clusterrolebinding", "clusterrolebindings", &[]),
    ("configmap", "configmaps", &["cm"]),
    ("controllerrevision", "controllerrevisions", &[]),
    ("cronjob", "cronjobs", &["cj"]),
    ("customresourcedefinition", "customresourcedefinitions", &["crd", "crds"]),
    ("daemonset", "daemonsets", &["ds"]),
    ("deployment", "deployments", &["deploy"]),
    ("endpointslice", "endpointslices", &[]),
    ("event", "events", &["ev"]),
    ("flowschema", "flowschemas", &[]),
    ("horizontalpodautoscaler", "horizontalpodautoscalers", &["hpa"]),
    ("ingress", "ingresses", &["ing"]),
    ("ingressclass", "ingressclasses", &[]),
    ("job", "jobs", &[]),
    ("lease", "leases", &[]),
    ("limitrange", "limitranges", &["limits"]),
    ("localsubjectaccessreview", "localsubjectaccessreviews", &[]),
    ("mutatingwebhookconfiguration", "mutatingwebhookconfigurations", &[]),
    ("namespace", "namespaces", &["ns"]),
    ("networkpolicy", "networkpolicies", &["netpol"]),
    ("node", "nodes", &["no"]),
    ("persistentvolume", "persistentvolumes", &["pv"]),
    ("persistentvolumeclaim", "persistentvolumeclaims", &["pvc"]),
    ("pod", "pods", &["po"]),
    ("poddisruptionbudget", "poddisruptionbudgets", &["pdb"]),
    ("podtemplate", "podtemplates", &[]),
    ("priorityclass", "priorityclasses", &["pc"]),
    ("replicaset", "replicasets", &["rs"]),
    ("replicationcontroller", "replicationcontrollers", &["rc"]),
    ("resourcequota", "resourcequotas", &["quota"]),
    ("role", "roles", &[]),
    ("rolebinding", "rolebindings", &[]),
    ("runtimeclass", "runtimeclasses", &[]),
    ("secret", "secrets", &[]),
    ("selfsubjectaccessreview", "selfsubjectaccessreviews", &[]),
    ("selfsubjectreview", "selfsubjectreviews", &[]),
    ("selfsubjectrulesreview", "selfsubjectrulesreviews", &[]),
    ("service", "services", &["svc"]),
    ("serviceaccount", "serviceaccounts", &["sa"]),
    ("statefulset", "statefulsets", &["sts"]),
    ("storageclass", "storageclasses", &["sc"]),
    ("subjectaccessreview", "subjectaccessreviews", &[]),
    ("tokenreview", "tokenreviews", &[]),
    ("validatingadmissionpolicy", "validatingadmissionpolicies", &[]),
    ("validatingadmissionpolicybinding", "validatingadmissionpolicybindings", &[]),
    ("validatingwebhookconfiguration", "validatingwebhookconfigurations", &[]),
    ("volumeattachment", "volumeattachments", &[]),
];

/// What is meant by a value that is no resource's name; `None` when it may be one.
pub(in crate::rules) fn resource_hint(value: &str) -> Option<String> {
    let value = value.to_lowercase();
    if let Some((resource, subresource)) = value.split_once('/') {
        let resource = plural(resource).unwrap_or(resource);
        return Some(format!(
            "objectRef.resource: {resource} and objectRef.subresource: {subresource}"
        ));
    }
    plural(&value).map(str::to_owned)
}

/// The resource that a kind or a short name stands for.
fn plural(word: &str) -> Option<&'static str> {
    let named = |(kind, _, short): &&(&str, &str, &[&str])| *kind == word || short.contains(&word);
    RESOURCES.iter().find(named).map(|(_, resource, _)| *resource)
}

/// The API groups of Kubernetes itself that have more than one word.
const GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// What is meant by a value that is no API group; `None` when it may be one.
pub(in crate::rules) fn group_hint(value: &str) -> Option<String> {
    let value = value.to_lowercase();
    // The core group is left out of the event, not written as an empty text.
    if ["", "core", "v1"].contains(&&*value) {
        return Some("objectRef.apiGroup: null".to_owned());
    }
    if let Some((group, _)) = value.split_once('/') {
        return Some(group.to_owned());
    }
    let first = |it: &&&str| it.split('.').next() == Some(&*value);
    GROUPS.iter().find(first).map(|it| (*it).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_in_the_plural() {
        for (value, want) in [
            ("Secret", Some("secrets")),
            ("po", Some("pods")),
            ("NetworkPolicy", Some("networkpolicies")),
            ("Pods", None),
            ("widgets", None),
            ("pod/exec", Some("objectRef.resource: pods and objectRef.subresource: exec")),
        ] {
            assert_eq!(resource_hint(value).as_deref(), want, "{value}");
        }
    }

    #[test]
    fn groups_have_no_version() {
        for (value, want) in [
            ("apps/v1", Some("apps")),
            ("rbac", Some("rbac.authorization.k8s.io")),
            ("", Some("objectRef.apiGroup: null")),
            ("apps", None),
            ("example.com", None),
        ] {
            assert_eq!(group_hint(value).as_deref(), want, "{value}");
        }
    }
}
