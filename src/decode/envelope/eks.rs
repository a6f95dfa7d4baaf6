//! What CloudWatch Logs wraps an event in: a subscription's delivery, an export of `FilterLogEvents`, and the
//! records of both.

use super::json::Object;
use super::opener::{List, Shape};
use super::taken::{Taken, record};
use crate::decode::row::Provider;
use crate::event::Flaw;

/// A delivery, an export or a record. `None`: it is none of them.
pub(super) fn open(object: &Object<'_>) -> Option<Shape> {
    if object.has("messageType") && object.has("logEvents") {
        if object.string("messageType").as_deref() == Some("CONTROL_MESSAGE") {
            return Some(Shape::One(Taken::other(Provider::Eks, Flaw::ControlMessage)));
        }
        return object.array("logEvents").map(|items| Shape::List(List::sure(items)));
    }
    if let Some(items) = object.array("events") {
        return Some(Shape::List(List::unsure(items)));
    }
    // `log` is what container runtimes call it.
    let text = object.string("message").or_else(|| object.string("log"))?;
    // FilterLogEvents writes the number of milliseconds, and so do subscriptions.
    let provider = if object.get("timestamp").is_some_and(|it| it.parse::<u64>().is_ok()) {
        Provider::Eks
    } else {
        Provider::Kubernetes
    };
    let taken = record(&text, provider, false);
    let other = || {
        // A cluster's log group holds the streams of its other components as well.
        let of_stream = object.has("logStreamName") || object.has("id");
        (provider == Provider::Eks && of_stream).then(|| Taken::other(provider, Flaw::OtherLog))
    };
    taken.or_else(other).map(Shape::One)
}
