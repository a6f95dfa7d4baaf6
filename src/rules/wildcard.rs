//! Patterns that are a row of steps, some of which stand for any text at all.

/// What a pattern is made of.
pub(super) trait Step {
    /// Whether it stands for any text, also none.
    fn is_many(&self) -> bool;

    /// Whether the one character fits it.
    fn fits(&self, c: char, cased: bool) -> bool;
}

/// Whether the whole text fits the steps. Greedy, with one step back, to the last that stands for any text: never
/// worse than the product of the two lengths.
pub(super) fn fits<S: Step>(steps: &[S], text: &str, cased: bool) -> bool {
    let mut at = 0;
    let mut rest = text.chars();
    // Where to go on when the present attempt fails: after the last such step, one character on.
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        match steps.get(at) {
            Some(step) if step.is_many() => {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            Some(step) => {
                let mut next = rest.clone();
                if next.next().is_some_and(|c| step.fits(c, cased)) {
                    rest = next;
                    at += 1;
                    continue;
                }
            }
            None if rest.as_str().is_empty() => return true,
            None => {}
        }
        let Some((after, mut from)) = retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        rest = from.clone();
        at = after;
        retry = Some((after, from));
    }
}
