//! Lists of events: an `EventList`, the records of an Event Hub, an array.

use std::ops::Range;

use super::json::{Object, array};
use super::opener::{List, Shape};

/// The list that an object is. `None`: it is none.
pub(super) fn object(object: &Object<'_>) -> Option<Shape> {
    if object.string("kind").as_deref() == Some("EventList") {
        return object.array("items").map(|items| Shape::List(List::sure(items)));
    }
    object.array("records").map(|items| Shape::List(List::unsure(items)))
}

/// The list that an array is.
pub(super) fn of_array(text: &str) -> Option<Shape> {
    let objects =
        |it: &Range<usize>| text.get(it.clone()).is_some_and(|it| it.starts_with(['{', '[']));
    let items = array(text).filter(|it| it.iter().any(objects))?;
    Some(Shape::List(List::unsure(items)))
}
