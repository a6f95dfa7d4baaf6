//! Buffers for text that cannot be borrowed from the line: a string with escapes, or one that is
//! compared in lower case. They are used again, so that no event costs an allocation.

use std::cell::RefCell;

/// A buffer that grew over this is given back: one odd event need not cost memory for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static SPARE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Lends an empty buffer to `work`, which may ask for further ones.
pub(super) fn buffer<R>(work: impl FnOnce(&mut String) -> R) -> R {
    let mut text = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut text);
    text.clear();
    if text.capacity() <= KEPT_BYTES_MAX {
        SPARE.with_borrow_mut(|it| it.push(text));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_empty_and_used_again() {
        let first = buffer(|it| {
            it.push_str("some text that makes it grow");
            buffer(|other| assert!(other.is_empty()));
            it.as_ptr()
        });
        buffer(|it| assert!(it.is_empty() && it.capacity() > 0));
        buffer(|it| {
            buffer(|other| assert!(it.as_ptr() == first || other.as_ptr() == first));
        });
        buffer(|it| it.reserve(KEPT_BYTES_MAX + 1));
    }
}
