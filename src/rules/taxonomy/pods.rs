//! Where a pod's spec lies in a request, and what it holds.

/// Where a pod's spec stands in a request's object: in a pod, in the template of a
/// workload, in the template of a cron job, in a pod template.
pub(in crate::rules) const POD_SPECS: &[&str] =
    &["spec", "spec.template.spec", "spec.jobTemplate.spec.template.spec", "template.spec"];

/// Where the containers stand in a pod's spec.
pub(in crate::rules) const CONTAINERS: &[&str] =
    &["containers", "initContainers", "ephemeralContainers"];

/// `podSpec.X`: X in any of [`POD_SPECS`].
pub(in crate::rules) const POD_SPEC: &str = "podSpec";

/// `podSpec.anyContainer.X`: X in any of [`CONTAINERS`] of any of [`POD_SPECS`].
pub(in crate::rules) const ANY_CONTAINER: &str = "anyContainer";

/// The fields of a pod's spec. Kubernetes adds some, so a name that is none of them is
/// told only when it is close to one.
pub(in crate::rules) const POD_FIELDS: &[&str] = &[
    ANY_CONTAINER,
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
];

/// The fields of a container, as [`POD_FIELDS`].
pub(in crate::rules) const CONTAINER_FIELDS: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

/// The fields of a container's security context that a pod's has not.
pub(super) const CONTAINER_SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
];
