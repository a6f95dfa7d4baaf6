//! Sigma rules as teams write them for Kubernetes, as many as are asked for: each has its own
//! combination of verbs, resources, namespaces, users, agents, URIs or parts of a pod's spec.
//! All of them use the paths of the audit event, so that any Sigma engine can run them.

use std::fmt::Write as _;

const WORDS: [&str; 24] = [
    "payments",
    "orders",
    "checkout",
    "catalog",
    "search",
    "auth",
    "gateway",
    "billing",
    "ledger",
    "fraud",
    "inventory",
    "shipping",
    "notify",
    "profile",
    "session",
    "media",
    "render",
    "ingest",
    "stream",
    "batch",
    "report",
    "export",
    "metrics",
    "tracing",
];
const STAGES: [&str; 3] = ["prod", "stg", "dev"];
const PEOPLE: [&str; 8] = [
    "alice.martin",
    "bob.kowalski",
    "carla.rossi",
    "david.nguyen",
    "eva.schmidt",
    "farid.haddad",
    "grace.lee",
    "hugo.bernard",
];
const RESOURCES: [&str; 24] = [
    "pods",
    "secrets",
    "configmaps",
    "deployments",
    "daemonsets",
    "statefulsets",
    "jobs",
    "cronjobs",
    "services",
    "ingresses",
    "networkpolicies",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "events",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "customresourcedefinitions",
    "certificatesigningrequests",
];
const AGENTS: [&str; 16] = [
    "kube-hunter",
    "peirates",
    "kdigger",
    "kubeletctl",
    "curl/",
    "python-requests",
    "nikto",
    "wget",
    "kubesploit",
    "stratus-red-team",
    "cdk/",
    "botb",
    "kubescape",
    "trivy",
    "nmap",
    "masscan",
];
const TOOLS: [&str; 16] = [
    "nc", "ncat", "socat", "nsenter", "chroot", "mount", "insmod", "tcpdump", "curl", "wget",
    "base64", "xmrig", "minerd", "kubectl", "crictl", "gdb",
];

/// Numbers that look drawn at random and are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }

    /// From one to `most` different words, as a YAML list.
    fn some(&mut self, words: &[&str], most: usize) -> String {
        let count = 1 + self.below(most);
        let first = self.below(words.len());
        let step = 1 + 2 * self.below(words.len() / 2);
        let picked: Vec<&str> =
            (0..count).map(|it| words[(first + it * step) % words.len()]).collect();
        format!("[{}]", picked.join(", "))
    }

    fn namespace(&mut self) -> String {
        format!("{}-{}", self.of(&WORDS), self.of(&STAGES))
    }

    fn namespaces(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        let picked: Vec<String> = (0..count).map(|_| self.namespace()).collect();
        format!("[{}]", picked.join(", "))
    }

    fn account(&mut self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace(), self.of(&WORDS))
    }
}

/// The `index`th rule of the family, as YAML.
pub(crate) fn rule(index: usize) -> String {
    let mut draw = Draw(index as u64);
    let detection = match index % 14 {
        0 => secret_reader(&mut draw),
        1 => agent(&mut draw),
        2 => command(&mut draw),
        3 => image(&mut draw),
        4 => privilege(&mut draw),
        5 => role(&mut draw),
        6 => binding(&mut draw),
        7 => refused(&mut draw),
        8 => origin(&mut draw),
        9 => named(&mut draw),
        10 => account(&mut draw),
        11 => removal(&mut draw),
        12 => impersonation(&mut draw),
        _ => path(&mut draw),
    };
    document(index, "product: kubernetes\n  service: audit", &detection)
}

/// The `index`th rule that no audit event of a cluster without these resources can match: half are
/// for Windows and Linux, as in a folder with the whole of a public collection.
pub(crate) fn foreign(index: usize) -> String {
    let mut draw = Draw(!(index as u64));
    let (source, detection) = match index % 4 {
        0 => (
            "product: windows\n  category: process_creation",
            format!(
                "  sel:\n    Image|endswith: ['\\{a}{index}.exe', '\\{b}.exe']\n    CommandLine|contains: [' -enc ', '{a}']\n  filter:\n    ParentImage|startswith: 'C:\\Program Files\\'\n  condition: sel and not filter\n",
                a = draw.of(&WORDS),
                b = draw.of(&WORDS)
            ),
        ),
        1 => (
            "product: linux\n  service: auditd",
            format!(
                "  sel:\n    type: SYSCALL\n    exe|endswith: /{}{index}\n    uid: 0\n  condition: sel\n",
                draw.of(&TOOLS)
            ),
        ),
        2 => (
            "product: kubernetes\n  service: audit",
            format!(
                "  sel:\n    verb: {}\n    objectRef.resource: {}{index}s\n    objectRef.apiGroup: {}.example.com\n    objectRef.namespace: {}\n  condition: sel\n",
                draw.some(&["create", "update", "patch", "delete"], 3),
                draw.of(&WORDS),
                draw.of(&WORDS),
                draw.namespaces(3)
            ),
        ),
        _ => (
            "product: kubernetes\n  service: audit",
            format!(
                "  sel:\n    verb: {}\n    objectRef.resource: {}\n    objectRef.namespace: tenant-{index}\n    userAgent|contains: [{}, {}]\n  condition: sel\n",
                draw.some(&["create", "get", "list", "delete"], 3),
                draw.some(&RESOURCES, 3),
                draw.of(&AGENTS),
                draw.of(&TOOLS)
            ),
        ),
    };
    document(100_000 + index, source, &detection)
}

fn document(index: usize, source: &str, detection: &str) -> String {
    let mut text = String::new();
    writeln!(text, "title: Rule {index}").unwrap();
    writeln!(text, "id: 00000000-0000-4000-8000-{index:012}").unwrap();
    writeln!(text, "status: test\nlevel: medium\nlogsource:\n  {source}").unwrap();
    write!(text, "detection:\n{detection}").unwrap();
    text
}

fn secret_reader(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    objectRef.resource: {}\n    verb: {}\n    objectRef.namespace: {}\n    stage: ResponseComplete\n  filter_owner:\n    user.username: [{}, {}]\n  filter_system:\n    user.username|startswith: 'system:serviceaccount:kube-system:'\n  condition: sel and not 1 of filter_*\n",
        draw.some(&["secrets", "configmaps"], 2),
        draw.some(&["get", "list", "watch"], 3),
        draw.namespaces(4),
        draw.account(),
        draw.account()
    )
}

fn agent(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    userAgent|contains: [{}, {}, '{}/{}.']\n  filter:\n    user.username: {}\n  condition: sel and not filter\n",
        draw.of(&AGENTS),
        draw.of(&AGENTS),
        draw.of(&WORDS),
        draw.below(9),
        draw.account()
    )
}

fn command(draw: &mut Draw) -> String {
    format!(
        "  exec:\n    verb: [create, get]\n    objectRef.resource: pods\n    objectRef.subresource: {}\n  tool:\n    requestURI|contains: ['command={}', 'command={}&', '%2F{}']\n  place:\n    objectRef.namespace: {}\n  condition: exec and tool and place\n",
        draw.some(&["exec", "attach", "portforward"], 2),
        draw.of(&TOOLS),
        draw.of(&TOOLS),
        draw.of(&TOOLS),
        draw.namespaces(6)
    )
}

fn image(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    verb: [create, update, patch]\n    objectRef.resource: {}\n    requestObject.spec.containers.image|startswith: ['docker.io/{}', 'quay.io/{}', '{}/']\n  filter:\n    user.username|startswith: '{}'\n  condition: sel and not filter\n",
        draw.some(&["pods", "deployments", "daemonsets", "jobs"], 2),
        draw.of(&WORDS),
        draw.of(&TOOLS),
        draw.of(&AGENTS),
        draw.account()
    )
}

fn privilege(draw: &mut Draw) -> String {
    let (field, value) = [
        ("requestObject.spec.containers.securityContext.privileged", "true"),
        ("requestObject.spec.hostNetwork", "true"),
        ("requestObject.spec.hostPID", "true"),
        ("requestObject.spec.containers.securityContext.capabilities.add", "[SYS_ADMIN, NET_RAW]"),
        ("requestObject.spec.volumes.hostPath.path|startswith", "[/etc, /var/run]"),
        ("requestObject.spec.template.spec.containers.securityContext.privileged", "true"),
        ("requestObject.spec.containers.securityContext.runAsUser", "0"),
        ("requestObject.spec.serviceAccountName", "admin"),
    ][draw.below(8)];
    format!(
        "  sel:\n    verb: {}\n    objectRef.resource: {}\n    {field}: {value}\n  scope:\n    objectRef.namespace: {}\n  condition: sel and scope\n",
        draw.some(&["create", "update", "patch"], 3),
        draw.some(&["pods", "deployments", "daemonsets", "statefulsets", "cronjobs"], 3),
        draw.namespaces(8)
    )
}

fn role(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    verb: {}\n    objectRef.resource: {}\n    objectRef.apiGroup: rbac.authorization.k8s.io\n    requestObject.rules.verbs: ['*', escalate, bind, impersonate]\n    requestObject.rules.resources: {}\n  condition: sel\n",
        draw.some(&["create", "update", "patch"], 3),
        draw.some(&["roles", "clusterroles"], 2),
        draw.some(&RESOURCES, 3)
    )
}

fn binding(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    verb: [create, patch, update]\n    objectRef.resource: {}\n    requestObject.roleRef.name: [cluster-admin, admin, {}-admin]\n  person:\n    user.username: {}\n  condition: sel and person\n",
        draw.some(&["rolebindings", "clusterrolebindings"], 2),
        draw.of(&WORDS),
        draw.some(&PEOPLE, 4)
    )
}

fn refused(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    responseStatus.code: [401, 403]\n    verb: {}\n    objectRef.resource: {}\n    user.username: {}\n  condition: sel\n",
        draw.some(&["get", "list", "watch", "create", "delete"], 3),
        draw.some(&RESOURCES, 4),
        draw.account()
    )
}

fn origin(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    verb: {}\n    objectRef.resource: {}\n    user.username: {}\n  inside:\n    sourceIPs|cidr: ['10.{}.0.0/16', '192.168.{}.0/24']\n  condition: sel and not inside\n",
        draw.some(&["get", "list", "create", "delete", "patch"], 3),
        draw.some(&RESOURCES, 5),
        draw.some(&PEOPLE, 3),
        draw.below(256),
        draw.below(256)
    )
}

fn named(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    objectRef.resource: {}\n    verb: {}\n    objectRef.name|re: '^{}-[a-z0-9]{{8,10}}-(canary|{})'\n  condition: sel\n",
        draw.some(&RESOURCES, 2),
        draw.some(&["create", "delete", "patch", "update"], 2),
        draw.of(&WORDS),
        draw.of(&STAGES)
    )
}

fn account(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    user.username: {}\n    verb: {}\n  usual:\n    objectRef.resource: {}\n  condition: sel and not usual\n",
        draw.account(),
        draw.some(&["create", "delete", "patch", "list"], 3),
        draw.some(&RESOURCES, 5)
    )
}

fn removal(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    verb: {}\n    objectRef.resource: {}\n    objectRef.namespace: {}\n    annotations.authorization\\.k8s\\.io/decision: allow\n  filter:\n    userAgent|startswith: [{}, argocd, helm]\n  condition: sel and not filter\n",
        draw.some(&["delete", "deletecollection"], 2),
        draw.some(&RESOURCES, 4),
        draw.namespaces(3),
        draw.of(&AGENTS)
    )
}

fn impersonation(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    impersonatedUser.username|contains: ['{}', 'system:admin']\n    objectRef.resource: {}\n  group:\n    impersonatedUser.groups: [system:masters, {}]\n  condition: sel or group\n",
        draw.account(),
        draw.some(&RESOURCES, 4),
        draw.of(&WORDS)
    )
}

fn path(draw: &mut Draw) -> String {
    format!(
        "  sel:\n    requestURI|startswith: ['/api/v1/namespaces/{a}/{r}', '/apis/{b}.example.com/']\n    verb: {v}\n  filter:\n    responseStatus.code: 404\n  condition: sel and not filter\n",
        a = draw.namespace(),
        r = draw.of(&RESOURCES),
        b = draw.of(&WORDS),
        v = draw.some(&["get", "create", "delete", "list"], 3)
    )
}
