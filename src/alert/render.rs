//! Alert -> two lines for a person: when, how bad and what; then who did what to which object,
//! from where, and the ids to look it up by.

use super::plain::{field, text_of};
use super::{Alert, AlertEvent, Level, ObjectRef};

const RESET: &str = "\x1b[0m";

/// Characters of a body that is shown because it is no finding, and of a Falco rule's output.
const BODY_CHARS_MAX: usize = 1_024;

/// Two lines without a last line end, and a third with what a Falco rule says. `color` is for
/// a terminal.
///
/// ```text
/// 2026-11-23T03:39:13.554321Z HIGH Exec into a pod (prod-eu)
///   alice create pods/exec etcd-0 in kube-system from 203.0.113.9: 101 allow; rule 0e1f, finding 9c
/// ```
pub fn human(alert: &Alert, color: bool) -> String {
    let time = alert.time.as_deref().map_or_else(|| "(no time)".to_owned(), field);
    let title = field(alert.rule.title.as_deref().unwrap_or(&alert.rule.id));
    // What concerns the whole program has none.
    let cluster = alert.cluster.as_deref().filter(|it| !it.is_empty());
    let cluster = cluster.map(|it| format!(" ({})", field(it)));
    let output = alert.output.as_deref().map(|it| format!("\n  {}", text_of(it, BODY_CHARS_MAX)));
    format!(
        "{time} {} {title}{}\n  {}; rule {}, finding {}{}",
        level(alert.rule.level, color),
        cluster.unwrap_or_default(),
        deeds(alert),
        field(&alert.rule.id),
        field(&alert.id),
        output.unwrap_or_default(),
    )
}

/// As [`human`], from a finding's body. What is no finding is shown as it is, made harmless.
pub fn body(text: &str, color: bool) -> String {
    match Alert::from_body(text) {
        Ok(alert) => human(&alert, color),
        Err(_) => text_of(text, BODY_CHARS_MAX),
    }
}

fn level(level: Level, color: bool) -> String {
    let word = level.as_str().to_uppercase();
    if !color {
        return word;
    }
    let paint = match level {
        Level::Critical => "\x1b[1;97;41m",
        Level::High => "\x1b[1;31m",
        Level::Medium => "\x1b[33m",
        Level::Low => "\x1b[36m",
        Level::Informational => "\x1b[2m",
    };
    format!("{paint}{word}{RESET}")
}

/// What was done: the event, or how many there were and the last of them.
fn deeds(alert: &Alert) -> String {
    let count = alert.events().count();
    match alert.events().last() {
        None => "no event".to_owned(),
        Some(event) if count == 1 => deed(event),
        Some(last) => format!("{count} events, the last: {}", deed(last)),
    }
}

/// Who did what to which object in which namespace, from which address, and what was answered.
fn deed(event: &AlertEvent) -> String {
    let mut words = vec![
        event.user.as_deref().map_or_else(|| "(nobody)".to_owned(), field),
        event.verb.as_deref().map_or_else(|| "did".to_owned(), field),
    ];
    words.extend(match &event.object_ref {
        Some(object) => thing(object),
        None => event.request_uri.as_deref().map(field).into_iter().collect(),
    });
    if let Some(ip) = event.source_ips.iter().flatten().next() {
        words.push(format!("from {}", field(ip)));
    }
    let answer: Vec<String> = event
        .code
        .map(|it| it.to_string())
        .into_iter()
        .chain(event.decision.as_deref().map(field))
        .collect();
    let answer = if answer.is_empty() { String::new() } else { format!(": {}", answer.join(" ")) };
    words.join(" ") + &answer
}

fn thing(object: &ObjectRef) -> Vec<String> {
    let resource = object.resource.as_deref().map_or_else(|| "object".to_owned(), field);
    let subresource = object.subresource.as_deref().map(|it| format!("/{}", field(it)));
    let mut words = vec![resource + &subresource.unwrap_or_default()];
    words.extend(object.name.as_deref().map(field));
    words.extend(object.namespace.as_deref().map(|it| format!("in {}", field(it))));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: &str = r#"{"id":"9c","rule":{"id":"0e1f","title":"Exec into a pod","level":"high","dialect":"sigma","tags":[]},
      "time":"2026-11-23T03:39:13.554321Z","cluster":"prod-eu","event":{"auditID":"a1","stage":"ResponseComplete",
      "verb":"create","user":"alice","sourceIPs":["203.0.113.9","10.0.0.1"],"objectRef":{"resource":"pods",
      "namespace":"kube-system","name":"etcd-0","subresource":"exec"},"requestURI":"/x","code":101,"decision":"allow"},
      "source":{"name":"audit.log","position":17}}"#;

    #[test]
    fn an_alert_says_who_did_what_to_which_object_from_where() {
        assert_eq!(
            body(EXEC, false),
            "2026-11-23T03:39:13.554321Z HIGH Exec into a pod (prod-eu)\n  alice create pods/exec etcd-0 in \
             kube-system from 203.0.113.9: 101 allow; rule 0e1f, finding 9c"
        );
        assert!(body(EXEC, true).contains(" \x1b[1;31mHIGH\x1b[0m Exec"));
    }

    #[test]
    fn what_a_falco_rule_says_is_a_third_line() {
        let said =
            EXEC.replace("\"source\":", "\"output\":\"Exec (user=alice)\\u001b[2J\",\"source\":");
        let text = body(&said, false);
        let third = text.lines().nth(2).unwrap();
        assert!(third.starts_with("  Exec (user=alice)") && !third.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_correlation_says_how_many_events_and_shows_the_last() {
        let text = r#"{"id":"f","rule":{"id":"r","level":"low"},"events":[{"verb":"get"},{"verb":"list","user":"bob",
          "requestURI":"/metrics"}]}"#;
        assert_eq!(
            body(text, false),
            "(no time) LOW r\n  2 events, the last: bob list /metrics; rule r, finding f"
        );
    }

    #[test]
    fn an_attacker_cannot_write_a_line_or_a_colour_of_his_own() {
        let text = EXEC
            .replace("alice", r"al\u001b[2Jice\n2026 LOW nothing")
            .replace("etcd-0", r"\u202eetcd\u009b31m");
        let shown = body(&text, false);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(!shown.chars().any(|it| it != '\n' && it.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
    }

    #[test]
    fn a_body_that_is_no_finding_is_shown_harmless() {
        assert_eq!(body("\x1b[31mhello", false), "\\u{1b}[31mhello");
    }
}
