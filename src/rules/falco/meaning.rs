//! Tests: what conditions mean, held against events. A condition goes through the parser,
//! the lowering and a whole rule set, so that the index is judged as well.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::RuleMatching;
use crate::rules::falco::condition::parse;
use crate::rules::falco::lower::{Lowered, lower};
use crate::rules::falco::output::{OUTPUT_BYTES_MAX, Template};
use crate::rules::falco::term::Term;
use crate::rules::scratch::Context;
use crate::rules::tests::event as indexed;
use crate::rules::{Level, Rule, RuleSet, Scratch, compile};

/// A rule set of one rule with this condition.
fn set(condition: &str) -> Result<RuleSet, String> {
    sets(&[(condition, "falco")], RuleMatching::All)
}

/// A rule set of rules with these conditions, each said to be of a dialect.
fn sets(conditions: &[(&str, &'static str)], matching: RuleMatching) -> Result<RuleSet, String> {
    let (mut rules, mut exprs, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for (condition, dialect) in conditions {
        let parsed = parse(condition).map_err(|error| error.to_string())?;
        let Lowered { expr, .. } = lower(&parsed).map_err(|error| error.to_string())?;
        nodes.push(compile::compile(&expr).map_err(|error| error.to_string())?);
        exprs.push(expr);
        rules.push(rule(dialect));
    }
    let outputs = vec![Template::parse("verb=%ka.verb").ok(); rules.len()];
    Ok(RuleSet::new(rules, exprs, nodes, Vec::new()).saying(outputs, matching))
}

fn rule(dialect: &'static str) -> Rule {
    Rule {
        id: "r".to_owned(),
        title: "R".to_owned(),
        level: Level::Low,
        dialect,
        tags: Vec::new(),
        description: String::new(),
        status: None,
        falsepositives: Vec::new(),
        references: Vec::new(),
        runbook: None,
        profile: None,
        behaviours: Vec::new(),
        file: PathBuf::new(),
        line: 1,
        hash: String::new(),
        priority: None,
        output: None,
        condition: None,
    }
}

fn error(condition: &str) -> String {
    set(condition).map(|_| ()).expect_err(condition)
}

fn holds(condition: &str, line: &str) -> bool {
    let rules = set(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    let event = indexed(line);
    let mut found = Vec::new();
    let mut scratch = Scratch::default();
    rules.matches(&event, &mut scratch, &mut found);
    let fires = !found.is_empty();
    rules.matches_unindexed(&event, &mut scratch, &mut found);
    assert_eq!(fires, !found.is_empty(), "the index: {condition}: {line}");
    fires
}

/// An audit event with these members besides what every event has.
fn event(members: &str) -> String {
    format!(
        r#"{{"auditID":"a-1","stage":"ResponseComplete","stageTimestamp":"2026-11-26T03:39:13.554321Z",{members}}}"#
    )
}

fn request(body: &str) -> String {
    event(&format!(r#""requestObject":{body}"#))
}

fn said(output: &str, line: &str) -> String {
    let template = Template::parse(output).unwrap_or_else(|error| panic!("{output}: {error}"));
    let event = indexed(line);
    let scratch = Scratch::default();
    template.render(&Context::new(&event, &scratch))
}

/// A request about a secret by a service account.
fn secret() -> String {
    event(
        r#""level":"Request","verb":"get","user":{"username":"system:serviceaccount:ns:bot","groups":["system:authenticated","devs"]},"impersonatedUser":{"username":"eve"},"requestURI":"/api/v1/namespaces/ns/secrets/db?watch=1&fieldManager=a%20b","sourceIPs":["10.0.0.1","192.168.0.9"],"userAgent":"kubectl/v1.30","objectRef":{"resource":"secrets","namespace":"ns","name":"db","subresource":"status"},"responseStatus":{"code":403,"reason":"Forbidden","status":"Failure"},"responseObject":{"metadata":{"name":"db-1"}},"annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"no","authentication.openshift.io/decision":"allow","authentication.openshift.io/username":"kubeadmin","validation.policy.admission.k8s.io/validation_failure":"[{}]","pod-security.kubernetes.io/audit-violations":"would violate","cluster_name":"prod"}"#,
    )
}

#[test]
fn fields_of_every_event_are_read() {
    for (field, want) in [
        ("ka.auditid", "a-1"),
        ("ka.stage", "ResponseComplete"),
        ("ka.auth.decision", "forbid"),
        ("ka.auth.reason", "no"),
        ("ka.auth.openshift.decision", "allow"),
        ("ka.auth.openshift.username", "kubeadmin"),
        ("ka.validations.admission.policy.failure", "[{}]"),
        ("ka.security.pod.violations", "would violate"),
        ("ka.user.name", "system:serviceaccount:ns:bot"),
        ("ka.user.groups", "(system:authenticated,devs)"),
        ("ka.impuser.name", "eve"),
        ("ka.verb", "get"),
        ("ka.uri", "/api/v1/namespaces/ns/secrets/db?watch=1&fieldManager=a%20b"),
        ("ka.uri.param[fieldManager]", "a b"),
        ("ka.uri.param[none]", "<NA>"),
        ("ka.target.name", "db"),
        ("ka.target.namespace", "ns"),
        ("ka.target.resource", "secrets"),
        ("ka.target.subresource", "status"),
        ("ka.target.pod.name", "<NA>"),
        ("ka.req.configmap.name", "db"),
        ("ka.resp.name", "db-1"),
        ("ka.response.code", "403"),
        ("ka.response.reason", "Forbidden"),
        ("ka.useragent", "kubectl/v1.30"),
        ("ka.sourceips", "(10.0.0.1,192.168.0.9)"),
        ("ka.sourceips[1]", "(192.168.0.9)"),
        ("ka.sourceips[2]", "<NA>"),
        ("ka.cluster.name", "prod"),
        ("ka.req.binding.subject.has_name[x]", "true"),
        ("jevt.value[/stage]", "ResponseComplete"),
        ("jevt.value[/responseStatus/status]", "Failure"),
        ("jevt.value[sourceIPs/1]", "192.168.0.9"),
        ("jevt.value[/annotations/authorization.k8s.io~1decision]", "forbid"),
        ("jevt.value[/responseStatus/code]", "403"),
        ("jevt.value[/responseObject]", r#"{"metadata":{"name":"db-1"}}"#),
        ("json.value[/level]", "Request"),
        ("jevt.value[/user.username]", "<NA>"),
        ("jevt.rawtime", "1795664353554321000"),
        ("jevt.time", "03:39:13.554321000"),
        ("jevt.time.iso8601", "2026-11-26T03:39:13.554321000+0000"),
        ("json.rawtime", "1795664353554321000"),
        ("evt.time", "03:39:13.554321000"),
        ("evt.time.s", "03:39:13"),
        ("evt.time.iso8601", "2026-11-26T03:39:13.554321000+0000"),
        ("evt.datetime", "2026-11-26 03:39:13.554321000"),
        ("evt.datetime.s", "2026-11-26 03:39:13"),
        ("evt.rawtime", "1795664353554321000"),
        ("evt.rawtime.s", "1795664353"),
        ("evt.rawtime.ns", "554321000"),
        ("evt.pluginname", "k8saudit"),
        ("evt.source", "k8s_audit"),
        ("evt.is_async", "false"),
        ("evt.asynctype", "<NA>"),
    ] {
        assert_eq!(said(&format!("%{field}"), &secret()), want, "{field}");
    }
    let line = event(r#""verb":"get""#);
    assert_eq!(said("%evt.plugininfo", &line), line);
    let lines = said("%jevt.obj", &line);
    assert!(lines.starts_with(r#"{\n  "auditID": "a-1",\n  "stage": "#), "{lines}");
    assert_eq!(said("%json.obj", &line), lines);
}

#[test]
fn bindings_roles_services_and_config_maps_are_read() {
    let subjects = request(
        r#"{"roleRef":{"name":"cluster-admin"},"subjects":[{"kind":"User","name":"eve"},{"kind":"ServiceAccount","name":"bot","namespace":"ns"},{"kind":"Group","name":"devs"},{"kind":"User"},{"kind":"ServiceAccount","name":"lone"}]}"#,
    );
    let role = request(
        r#"{"rules":[{"apiGroups":[""],"resources":["pods","pods/exec"],"verbs":["*"]},{"nonResourceURLs":["/x"],"verbs":["get"]}]}"#,
    );
    let service = request(r#"{"spec":{"type":"NodePort","ports":[{"port": 80},{"port": 81}]}}"#);
    let map = request(r#"{"data":{"z":"aws_access_key_id","a": "1"}}"#);
    for (field, line, want) in [
        ("ka.req.binding.role", &subjects, "cluster-admin"),
        ("ka.req.binding.subjects.user_names", &subjects, "(eve)"),
        ("ka.req.binding.subjects.serviceaccount_names", &subjects, "(bot,lone)"),
        ("ka.req.binding.subjects.serviceaccount_ns_names", &subjects, "(ns:bot)"),
        ("ka.req.binding.subjects.group_names", &subjects, "(devs)"),
        ("ka.req.binding.subjects.group_names", &role, "<NA>"),
        ("ka.req.role.rules.apiGroups", &role, "()"),
        ("ka.req.role.rules.resources", &role, "(pods,pods/exec)"),
        ("ka.req.role.rules.resources[1]", &role, "<NA>"),
        ("ka.req.role.rules.verbs", &role, "(*,get)"),
        ("ka.req.role.rules.verbs[1]", &role, "(get)"),
        ("ka.req.role.rules.nonResourceURLs", &role, "(/x)"),
        ("ka.req.service.type", &service, "NodePort"),
        ("ka.req.service.ports", &service, r#"([{"port":80},{"port":81}])"#),
        ("ka.req.configmap.obj", &map, r#"{"z":"aws_access_key_id","a":"1"}"#),
        ("ka.req.configmap.obj", &role, "<NA>"),
    ] {
        assert_eq!(said(&format!("%{field}"), line), want, "{field}");
    }
    let rules = said("%ka.req.role.rules", &role);
    assert!(rules.starts_with(r#"({"apiGroups":[""],"resources""#), "{rules}");
    let all = said("%ka.req.binding.subjects", &subjects);
    assert!(all.starts_with(r#"({"kind":"User","name":"eve"},{"kind""#), "{all}");
}

#[test]
fn pods_are_read_list_by_list() {
    let pod = request(
        r#"{"spec":{"hostNetwork":true,"hostPID":false,"hostIPC":null,"securityContext":{"runAsUser":0,"runAsGroup":7,"fsGroup":8,"supplementalGroups":[1,2]},"volumes":[{"name":"v","hostPath":{"path":"/etc/ssl"}},{"name":"w","secret":{}},{"flexVolume":{"driver":"d"}}],"containers":[{"name":"a","image":"reg.io/x/a:1.0","command":["sh","-c"],"args":["x"],"ports":[{"hostPort":80},{"containerPort":81},{}],"securityContext":{"privileged":true,"runAsUser":5,"capabilities":{"add":["SYS_ADMIN","NET_RAW"]}}},{"name":"b","image":"b@sha256:0","securityContext":{"readOnlyRootFilesystem":true,"procMount":"Default","allowPrivilegeEscalation":false,"runAsGroup":6}}],"initContainers":[{"name":"i"}],"ephemeralContainers":[{"name":"e","image":"e","securityContext":{"privileged":true}}]}}"#,
    );
    for (field, want) in [
        ("ka.req.pod.host_network", "true"),
        ("ka.req.container.host_network", "true"),
        ("ka.req.pod.host_pid", "false"),
        ("ka.req.pod.host_ipc", "null"),
        ("ka.req.pod.run_as_user", "0"),
        ("ka.req.pod.run_as_group", "7"),
        ("ka.req.pod.fs_group", "8"),
        ("ka.req.pod.supplemental_groups", "(1,2)"),
        ("ka.req.pod.volumes.hostpath", "(/etc/ssl)"),
        ("ka.req.pod.volumes.hostpath[0]", "(/etc/ssl)"),
        ("ka.req.pod.volumes.hostpath[1]", "<NA>"),
        ("ka.req.pod.volumes.flexvolume_driver", "(d)"),
        ("ka.req.pod.volumes.volume_type", "(hostPath,secret,flexVolume)"),
        ("ka.req.pod.volumes.volume_type[1]", "(secret)"),
        ("ka.req.volume.hostpath[/etc*]", "true"),
        ("ka.req.volume.hostpath[/etc]", "false"),
        ("ka.req.volume.hostpath[/etc/ssl]", "true"),
        ("ka.req.container.image", "reg.io/x/a:1.0"),
        ("ka.req.container.image.repository", "reg.io/x/a"),
        ("ka.req.container.privileged", "true"),
        ("ka.req.pod.containers.name", "(a,b)"),
        ("ka.req.pod.containers.name[1]", "(b)"),
        ("ka.req.pod.containers.image", "(reg.io/x/a:1.0,b@sha256:0)"),
        ("ka.req.pod.containers.image.repository", "(reg.io/x/a,b)"),
        ("ka.req.pod.containers.command", "(sh -c)"),
        ("ka.req.pod.containers.args", "(x)"),
        ("ka.req.pod.containers.args[1]", "<NA>"),
        ("ka.req.pod.containers.host_port", "(80,81)"),
        ("ka.req.pod.containers.privileged", "(true)"),
        ("ka.req.pod.containers.allow_privilege_escalation", "(false)"),
        ("ka.req.pod.containers.read_only_fs", "(true)"),
        ("ka.req.pod.containers.run_as_user", "(5)"),
        ("ka.req.pod.containers.eff_run_as_user", "(0,0)"),
        ("ka.req.pod.containers.run_as_group", "(6)"),
        ("ka.req.pod.containers.eff_run_as_group", "(0,0)"),
        ("ka.req.pod.containers.proc_mount", "(Default)"),
        ("ka.req.pod.containers.add_capabilities", r#"(["SYS_ADMIN","NET_RAW"])"#),
        ("ka.req.pod.initContainers.name", "(i)"),
        ("ka.req.pod.initContainers.image", "<NA>"),
        ("ka.req.pod.initContainers.privileged", "<NA>"),
        ("ka.req.pod.ephemeralContainers.privileged", "(true)"),
        ("ka.req.pod.ephemeralContainers.image", "(e)"),
    ] {
        assert_eq!(said(&format!("%{field}"), &pod), want, "{field}");
    }
    let bare = request(r#"{"spec":{}}"#);
    for field in ["ka.req.container.privileged", "ka.req.container.image", "ka.req.pod.host_pid"] {
        assert_eq!(said(&format!("%{field}"), &bare), "<NA>", "{field}");
    }
    let odd = request(r#"{"spec":{"containers":[{"command":"sh","ports":{}},[[{"name":"x"}]]]}}"#);
    for field in ["command", "host_port", "image"] {
        assert_eq!(said(&format!("%ka.req.pod.containers.{field}"), &odd), "<NA>", "{field}");
    }
    let answered =
        event(r#""objectRef":{"resource":"pods"},"responseObject":{"metadata":{"name":"web-1"}}"#);
    assert_eq!(said("%ka.target.pod.name", &answered), "web-1");
}

#[test]
fn operators_compare_text_as_falco_does() {
    let line = secret();
    for (condition, want) in [
        ("ka.verb = get", true),
        ("ka.verb = GET", false),
        ("ka.verb == get", true),
        ("ka.verb != get", false),
        ("ka.verb != list", true),
        ("ka.target.name contains d", true),
        ("ka.target.name contains D", false),
        ("ka.target.name icontains D", true),
        ("ka.user.name startswith \"system:\"", true),
        ("ka.user.name startswith \"System:\"", false),
        ("ka.user.name endswith bot", true),
        ("ka.uri glob \"/api/*/secrets/??[?]watch=*\"", true),
        ("ka.uri glob /api/*/secrets", false),
        ("ka.useragent glob kubectl/v[0-9].*", true),
        ("ka.useragent glob KUBECTL/v[0-9].*", false),
        ("ka.useragent iglob KUBECTL/V[0-9].*", true),
        ("ka.verb iglob GE?", true),
        ("ka.verb regex ge", false),
        ("ka.verb regex g.t", true),
        ("ka.verb regex \"^(get|list)$\"", true),
        ("ka.verb in (list, get)", true),
        ("ka.verb in (list)", false),
        ("ka.verb in ()", false),
        ("ka.verb intersects (list, get)", true),
        ("ka.uri pmatch (/apis, /api/v1/name*)", true),
        ("ka.uri pmatch (/api/v1/name)", false),
        ("ka.response.code = 403", true),
        ("ka.response.code startswith 4", true),
        ("ka.response.code in (403, 404)", true),
        ("jevt.value[/responseStatus/code] = 403", true),
        ("ka.response.code >= 403", true),
        ("ka.response.code > 50", false),
        ("ka.verb startswith oneof (g, ge, l)", false),
        ("ka.verb startswith oneof (g, l)", true),
        ("ka.verb startswith anyof (x, ge)", true),
        ("ka.verb contains allof (g, t)", true),
        ("ka.verb contains allof (g, x)", false),
        ("ka.verb != anyof (get, list)", true),
        ("ka.verb != allof (get, list)", false),
        ("evt.rawtime > 1795664353554320999", true),
        ("evt.rawtime.s = 1795664353", true),
        ("evt.rawtime.s in (1, 1795664353)", true),
        ("jevt.rawtime = 0", false),
        ("jevt.rawtime exists", true),
        ("evt.is_async = false", true),
    ] {
        assert_eq!(holds(condition, &line), want, "{condition}");
    }
}

#[test]
fn on_lists_in_means_all_and_intersects_any() {
    let line = secret();
    let bare = event(r#""verb":"get","user":{"groups":[]}"#);
    for (condition, full, empty) in [
        ("ka.user.groups in (devs, system:authenticated, x)", true, false),
        ("ka.user.groups in (devs)", false, false),
        ("not ka.user.groups in (devs)", true, true),
        ("ka.user.groups intersects (devs, x)", true, false),
        ("ka.user.groups intersects (x)", false, false),
        ("ka.user.groups exists", true, false),
        ("not ka.user.groups exists", false, true),
        ("ka.sourceips in (10.0.0.1, 192.168.0.9)", true, false),
        ("ka.sourceips[0] in (10.0.0.1)", true, false),
        ("ka.sourceips intersects (192.168.0.9)", true, false),
        ("len(ka.user.groups) = 2", true, false),
        ("len(ka.user.groups) > 2", false, false),
        ("len(ka.verb) <= 3", true, true),
        ("toupper(ka.user.groups) intersects (DEVS)", true, false),
        ("join(\",\", ka.user.groups) = \"system:authenticated,devs\"", true, false),
    ] {
        assert_eq!(holds(condition, &line), full, "{condition}");
        assert_eq!(holds(condition, &bare), empty, "{condition} of an empty list");
    }
}

#[test]
fn what_is_missing_compares_with_nothing() {
    let line = event(r#""verb":"get","objectRef":{"namespace":null}"#);
    for operator in ["=", "!=", "contains", "startswith", "glob", "regex", "in", "pmatch"] {
        for field in ["ka.target.name", "ka.target.namespace", "ka.req.service.type"] {
            let condition = format!("{field} {operator} x");
            assert!(!holds(&condition, &line), "{condition}");
            assert!(holds(&format!("not {condition}"), &line), "{condition}");
        }
    }
    assert!(!holds("ka.target.name exists", &line) && holds("ka.verb exists", &line));
    assert!(!holds("ka.target.name = val(ka.target.namespace)", &line));
    assert!(!holds("ka.target.name != val(ka.verb)", &line));
    assert!(!holds("ka.verb != anyof ()", &line) && !holds("ka.verb = allof ()", &line));
}

#[test]
fn terms_are_compared_with_terms() {
    let line = event(
        r#""verb":"get","user":{"username":"alice","groups":["a","b"]},"objectRef":{"name":"Alice","namespace":"al*e"},"sourceIPs":["a","b","c"],"requestObject":{"spec":{"type":"c2VjcmV0","hostPID":"/bin/sh"}}"#,
    );
    for (condition, want) in [
        ("ka.user.name = val(ka.target.name)", false),
        ("ka.user.name != val(ka.target.name)", true),
        ("ka.user.name = tolower(ka.target.name)", true),
        ("tolower(ka.target.name) = tolower(ka.user.name)", true),
        ("ka.user.name glob val(ka.target.namespace)", true),
        ("ka.user.name startswith val(ka.target.name)", false),
        ("ka.user.name icontains val(ka.target.name)", true),
        ("ka.user.name > val(ka.target.name)", true),
        ("ka.user.name in val(ka.user.name)", true),
        ("ka.user.groups in val(ka.sourceips)", true),
        ("ka.sourceips in val(ka.user.groups)", false),
        ("ka.sourceips intersects val(ka.user.groups)", true),
        ("len(ka.user.groups) < len(ka.sourceips)", true),
        ("len(ka.user.name) = len(ka.target.name)", true),
        ("b64(ka.req.service.type) = secret", true),
        ("basename(ka.req.pod.host_pid) = sh", true),
        ("concat(ka.user.name, \"@\", ka.verb) = \"alice@get\"", true),
        ("concat(ka.user.name, ka.response.reason) exists", false),
        ("join(\"-\", (ka.verb, \"x\")) = get-x", true),
        ("getopt(ka.sourceips, \"a\") exists", false),
    ] {
        assert_eq!(holds(condition, &line), want, "{condition}");
    }
}

#[test]
fn what_has_no_meaning_is_refused_with_its_reason() {
    for (condition, want) in [
        ("ka.verbs = get", "unknown field \"ka.verbs\"; did you mean \"ka.verb\"?"),
        ("ka.req.pod.containers.images exists", "did you mean \"ka.req.pod.containers.image\"?"),
        ("ka.zzzzzzzzzzzzzzz exists", "unknown field \"ka.zzzzzzzzzzzzzzz\""),
        ("ka.req.pod.ephemeralContainers.host_port exists", "unknown field"),
        ("proc.name = sh", "field \"proc.name\" is of another event source than k8s_audit"),
        ("fd.name = x", "field \"fd.name\" is of another event source"),
        ("container.id = x", "another event source"),
        ("evt.type = open", "field \"evt.type\" is of another event source"),
        ("evt.num = 1", "field \"evt.num\" is known only to the Falco process"),
        ("evt.hostname = x", "known only to the Falco process"),
        ("ka.uri.param = x", "field \"ka.uri.param\" needs an argument: ka.uri.param[...]"),
        ("ka.verb[0] = x", "field \"ka.verb\" takes no argument"),
        ("ka.user.groups[0] in (x)", "field \"ka.user.groups\" takes no argument"),
        ("ka.sourceips[x] in (x)", "\"x\" in \"ka.sourceips[x]\" is no index"),
        ("ka.sourceips[01] in (x)", "is no index"),
        (
            "ka.user.groups = devs",
            "\"ka.user.groups\" is a list, which only exists, in and intersects",
        ),
        ("ka.user.groups contains d", "is a list"),
        (
            "ka.verb bcontains 67",
            "operator \"bcontains\" cannot compare text, which \"ka.verb\" is",
        ),
        ("ka.verb bstartswith 67", "cannot compare text"),
        ("len(ka.verb) contains 3", "cannot compare a number, which \"len(ka.verb)\" is"),
        ("len(ka.verb) = three", "\"three\" is no number"),
        ("evt.is_async = no", "\"no\" is neither true nor false"),
        ("evt.is_async > 1", "cannot compare true or false"),
        ("ka.verb regex \"a(\"", "regular expression \"a(\": unclosed group"),
        ("ka.verb regex \"(a{1,500}){1,500}{1,500}\"", "takes more than"),
        ("ka.verb = val(ka.user.groups)", "\"ka.verb\" and \"ka.user.groups\" cannot be compared"),
        ("len(ka.verb) = val(ka.verb)", "they are of different types"),
        ("tolower(len(ka.verb)) = x", "transformer \"tolower\" takes one text or list of texts"),
        ("concat(ka.verb) = x", "transformer \"concat\" takes two texts or more"),
        ("join(\",\", ka.verb) = x", "transformer \"join\" takes a separator and a list"),
        ("tolower(ka.verb)[x] = x", "transformer \"tolower\" takes no argument in brackets"),
        ("getopt(ka.sourceips, \"a\")[ab] = x", "one letter in brackets"),
    ] {
        let error = error(condition);
        assert!(error.contains(want), "{condition}: {error}");
    }
}

#[test]
fn fields_that_mislead_in_falco_are_warned_of() {
    let cautions = |condition: &str| lower(&parse(condition).unwrap()).unwrap().cautions;
    assert!(cautions("ka.verb = get and ka.user.groups in (a)").is_empty());
    let found = cautions(
        "ka.req.pod.containers.eff_run_as_user in (0) or len(ka.req.service.ports) = 1 or ka.req.pod.containers.eff_run_as_user in (1)",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("field \"ka.req.pod.containers.eff_run_as_user\" looks"));
}

#[test]
fn only_events_of_the_source_are_judged() {
    let condition = "not ka.verb = get";
    assert!(holds(condition, &event(r#""verb":"list""#)));
    assert!(!holds(condition, r#"{"verb":"list","user":{"username":"x"}}"#));
    assert!(!holds(condition, r#"{"protoPayload":{"serviceName":"storage.googleapis.com"}}"#));
}

#[test]
fn of_falcos_rules_all_fire_or_the_first_and_sigmas_always() {
    let conditions = [
        ("ka.verb = list", "falco"),
        ("ka.verb = get", "falco"),
        ("ka.verb = get", "sigma"),
        ("ka.verb in (get, list)", "falco"),
        ("ka.verb exists", "sigma"),
    ];
    let fired = |matching, verb: &str| {
        let rules = sets(&conditions, matching).unwrap();
        let line = event(&format!(r#""verb":"{verb}""#));
        let event = indexed(&line);
        let (mut found, mut scratch) = (Vec::new(), Scratch::default());
        rules.matches(&event, &mut scratch, &mut found);
        let said = found.first().and_then(|it| rules.output(*it, &event, &scratch));
        assert_eq!(said, Some(format!("verb={verb}")));
        found.iter().map(|it| it.get()).collect::<Vec<_>>()
    };
    assert_eq!(fired(RuleMatching::All, "get"), [1, 2, 3, 4]);
    assert_eq!(fired(RuleMatching::First, "get"), [1, 2, 4]);
    assert_eq!(fired(RuleMatching::All, "list"), [0, 3, 4]);
    assert_eq!(fired(RuleMatching::First, "list"), [0, 4]);
}

#[test]
fn entries_of_gke_have_the_status_they_hold_and_no_other() {
    let entry = |status: &str| {
        format!(
            r#"{{"insertId":"1","labels":{{"authorization.k8s.io/decision":"allow"}},"protoPayload":{{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.exec.create","resourceName":"core/v1/namespaces/ns/pods/web/exec","authenticationInfo":{{"principalEmail":"eve@x.io"}},"requestMetadata":{{"callerIp":"10.0.0.7"}}{status}}}}}"#
        )
    };
    for (status, want) in [
        (r#","status":{"code":7,"message":"no"}"#, "403"),
        (r#","status":{"code":16}"#, "401"),
        (r#","status":{"code":5}"#, "404"),
        (r#","status":{}"#, "200"),
        (r#","status":{"code":99}"#, "<NA>"),
        ("", "<NA>"),
    ] {
        assert_eq!(said("%ka.response.code", &entry(status)), want, "{status}");
    }
    let line = entry("");
    let timed = line
        .replace("\"insertId\"", "\"receiveTimestamp\":\"2026-11-26T03:39:13.5Z\",\"insertId\"");
    assert_eq!(said("%evt.time.s %jevt.rawtime", &timed), "03:39:13 1795664353500000000");
    assert_eq!(said("%evt.time", &line), "<NA>");
    assert!(holds("ka.verb = create and ka.target.resource = pods", &line));
    assert!(holds("ka.target.subresource = exec and ka.target.namespace = ns", &line));
    assert!(holds("ka.user.name = eve@x.io and ka.sourceips in (10.0.0.7)", &line));
    assert!(holds("ka.auth.decision = allow and not ka.response.code startswith 2", &line));
    let cluster = line.replace(
        "core/v1/namespaces/ns/pods/web/exec",
        "rbac.authorization.k8s.io/v1/clusterroles/x",
    );
    assert_eq!(
        said("%ka.target.resource %ka.target.name %ka.target.namespace", &cluster),
        "clusterroles x <NA>"
    );
}

#[test]
fn outputs_are_written_as_falco_writes_them() {
    let line = secret();
    for (output, want) in [
        ("plain", "plain"),
        ("user=%ka.user.name verb=%ka.verb.", "user=system:serviceaccount:ns:bot verb=get."),
        ("*%ka.req.service.type|%ka.verb", "<NA>|get"),
        ("%ka.target.name/%ka.target.resource", "db/secrets"),
        ("%ka.verbs (%ka.verb)", "gets (get)"),
        ("%6ka.verb|%2ka.verb|%0ka.verb", "get   |ge|get"),
        ("%ka.user.groups", "(system:authenticated,devs)"),
        ("%toupper(ka.verb)-%len(ka.user.groups)", "GET-2"),
        ("%ka.uri.param[\"fieldManager\"]", "a b"),
        ("100%ka.verb", "100get"),
        ("a\tb\\n", "a\tb\\n"),
    ] {
        assert_eq!(said(output, &line), want, "{output}");
    }
    for (output, want) in [
        ("", "output: it is empty"),
        ("100%", "output: it ends where a field should follow \"%\""),
        ("100%% sure", "output: no field follows \"%\" before \"% sure\""),
        ("%nothing", "no field follows"),
        ("%ka.nothing", "unknown field \"ka.nothing\""),
        ("%proc.name", "field \"proc.name\" is of another event source"),
        ("%ka.uri.param", "needs an argument"),
        ("%99999ka.verb", "more than 4096 characters wide"),
    ] {
        let error = Template::parse(output).unwrap_err().to_string();
        assert!(error.contains(want), "{output}: {error}");
    }
}

#[test]
fn outputs_are_cut_and_their_control_characters_shown() {
    let agent = "x\\u001b[2J\\n".repeat(10);
    let line = event(&format!(r#""verb":"get","userAgent":"{agent}""#));
    let said_of = said("%ka.useragent", &line);
    assert!(said_of.starts_with("x\\u{1b}[2J\\nx") && !said_of.contains(['\u{1b}', '\n']));
    let long = event(&format!(r#""userAgent":"{}""#, "ä".repeat(OUTPUT_BYTES_MAX)));
    let cut = said("%ka.useragent and more", &long);
    assert!(cut.len() <= OUTPUT_BYTES_MAX && cut.ends_with("ä...(cut)"), "{}", cut.len());
}

#[test]
fn every_field_of_the_table_is_documented_and_reads_back() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/falco.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = super::field::rows();
    let lacking: Vec<&String> = rows.iter().filter(|it| !text.contains(it.as_str())).collect();
    assert!(lacking.is_empty(), "docs/falco.md lacks {lacking:#?}");
    for name in super::field::names() {
        let field = |argument: Option<&str>| crate::rules::falco::ast::Term::Field {
            name: name.clone(),
            argument: argument.map(str::to_owned),
        };
        let term = Term::of(&field(None)).or_else(|_| Term::of(&field(Some("x"))));
        assert!(term.unwrap().to_string().starts_with(&name), "{name}");
    }
}

/// What is in the public pack of rules, when it lies beside the project.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn pack() -> Option<Vec<(String, Lowered, String)>> {
    let path = super::tests::shared("conformance/packs/falco/k8s_audit_rules.yaml");
    let Some(text) = path.and_then(|it| std::fs::read_to_string(it).ok()) else {
        eprintln!("skipped: there is no conformance/packs/falco");
        return None;
    };
    let mut collector = super::collect::Collector::default();
    collector.add(std::path::Path::new("k8s_audit_rules.yaml"), &text);
    let resolved = super::resolve::resolve(collector);
    assert!(resolved.errors.is_empty() && resolved.rules.len() > 30);
    let lowered = resolved.rules.into_iter().map(|rule| {
        let lowered =
            lower(&rule.condition).unwrap_or_else(|error| panic!("{}: {error}", rule.name));
        (rule.name, lowered, rule.definition.output.text)
    });
    Some(lowered.collect())
}

#[test]
fn every_rule_of_the_public_pack_has_a_meaning_and_an_output() {
    let Some(pack) = pack() else {
        return;
    };
    let (mut rules, mut exprs, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let mut outputs = Vec::new();
    for (name, Lowered { expr, cautions }, output) in pack {
        assert!(cautions.is_empty(), "{name}: {cautions:?}");
        nodes.push(compile::compile(&expr).unwrap_or_else(|error| panic!("{name}: {error}")));
        exprs.push(expr);
        let template = Template::parse(&output).unwrap_or_else(|error| panic!("{name}: {error}"));
        outputs.push(Some(template));
        rules.push(Rule { title: name, ..rule("falco") });
    }
    let set = RuleSet::new(rules, exprs, nodes, Vec::new()).saying(outputs, RuleMatching::All);
    let mut fired = BTreeSet::new();
    for line in requests() {
        let event = indexed(&line);
        let (mut found, mut scratch) = (Vec::new(), Scratch::default());
        set.matches(&event, &mut scratch, &mut found);
        for index in &found {
            assert!(set.output(*index, &event, &scratch).is_some_and(|it| !it.contains('%')));
            fired.insert(set.rule(*index).title.clone());
        }
        let indexed = std::mem::take(&mut found);
        set.matches_unindexed(&event, &mut scratch, &mut found);
        assert_eq!(indexed, found, "the index: {line}");
    }
    assert!(fired.len() > 30, "{} fired: {fired:#?}", fired.len());
}

/// Requests of every verb to the resources that the pack is about, allowed and denied.
fn requests() -> Vec<String> {
    let pod = r#"{"spec":{"hostNetwork":true,"hostPID":true,"hostIPC":true,"volumes":[{"hostPath":{"path":"/etc"}}],"containers":[{"name":"a","image":"x.io/a:1","securityContext":{"privileged":true}}]}}"#;
    let bodies = [
        ("pods", pod),
        ("configmaps", r#"{"data":{"a":"password"}}"#),
        ("services", r#"{"spec":{"type":"NodePort","ports":[]}}"#),
        ("clusterrolebindings", r#"{"roleRef":{"name":"cluster-admin"},"subjects":[]}"#),
        ("clusterroles", r#"{"rules":[{"verbs":["*","create"],"resources":["pods/exec"]}]}"#),
        ("roles", r#"{"rules":[{"verbs":["get"],"resources":["*"]}]}"#),
        ("rolebindings", "{}"),
        ("secrets", "{}"),
        ("serviceaccounts", "{}"),
        ("namespaces", "{}"),
        ("deployments", "{}"),
    ];
    let mut lines = Vec::new();
    for (resource, body) in bodies {
        for (verb, code) in
            [("get", 200), ("get", 403), ("create", 201), ("patch", 200), ("delete", 200)]
        {
            for (user, namespace) in
                [("eve", "kube-system"), ("system:anonymous", "shop"), ("admin", "")]
            {
                let space = match namespace {
                    "" => String::new(),
                    name => format!(r#","namespace":"{name}""#),
                };
                lines.push(event(&format!(
                    r#""verb":"{verb}","requestURI":"/x","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}","name":"system:x"{space}}},"responseStatus":{{"code":{code}}},"annotations":{{"authorization.k8s.io/decision":"allow"}},"requestObject":{body}"#
                )));
            }
        }
    }
    for (stage, subresource) in [
        ("ResponseStarted", "exec"),
        ("ResponseComplete", "ephemeralcontainers"),
        ("ResponseComplete", "portforward"),
    ] {
        let line = event(&format!(
            r#""verb":"create","user":{{"username":"eve"}},"objectRef":{{"resource":"pods","subresource":"{subresource}"}}"#
        ));
        lines.push(line.replace("ResponseComplete", stage));
    }
    lines.extend([secret(), r#"{"verb":"get"}"#.to_owned()]);
    lines
}
