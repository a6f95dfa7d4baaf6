//! Histories of several archives -> one, in the order of event time.
//!
//! One rule: each archive's events stay in their own order, in which time may go back. Where they come in between
//! those of another archive is decided by the latest time that came before them.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::history::{self, History, HistoryError, Placed, Reader, Run};
use super::stop::guarded;

/// Runs of one archive that wait for those of another.
const RUNS_AHEAD_MAX: usize = 2;

/// Reads the histories and hands what the readers made of them to `take`. `when` says when something
/// happened, where that is known.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub(super) fn read<R: Reader, E: From<HistoryError>>(
    histories: &[History<'_>],
    make: impl Fn() -> R + Sync,
    when: impl Fn(&R::Made) -> Option<i64>,
    take: impl FnMut(Run<R::Made>) -> Result<(), E>,
) -> Result<(), E> {
    if let [history] = histories {
        return history::read(history, make, take);
    }
    std::thread::scope(|scope| {
        let mut streams = Vec::new();
        for (at, history) in histories.iter().enumerate() {
            let (sender, runs) = sync_channel(RUNS_AHEAD_MAX);
            let make = &make;
            scope.spawn(guarded(&format!("archive-{at}"), move || send(history, make, &sender)));
            streams.push(Stream { runs, ready: VecDeque::new(), clock: i64::MIN, files: (0, 0) });
        }
        merge(streams, when, take)
    })
}

type Sent<T> = Result<Run<T>, HistoryError>;

/// Why an archive was not read to its end.
enum Ended {
    /// Nobody takes what is read any more.
    Unwanted,
    Failed(HistoryError),
}

impl From<HistoryError> for Ended {
    fn from(error: HistoryError) -> Ended {
        Ended::Failed(error)
    }
}

fn send<R: Reader>(
    history: &History<'_>,
    make: impl Fn() -> R,
    sender: &SyncSender<Sent<R::Made>>,
) {
    let put = |run| sender.send(Ok(run)).map_err(|_| Ended::Unwanted);
    if let Err(Ended::Failed(error)) = history::read(history, make, put) {
        sender.send(Err(error)).unwrap_or(());
    }
}

/// One archive's history as it comes.
struct Stream<T> {
    runs: Receiver<Sent<T>>,
    ready: VecDeque<Placed<T>>,
    /// The latest time that came.
    clock: i64,
    files: (usize, usize),
}

impl<T> Stream<T> {
    /// Waits until something is ready; false: it has ended.
    fn fill(&mut self) -> Result<bool, HistoryError> {
        while self.ready.is_empty() {
            let Ok(run) = self.runs.recv() else { return Ok(false) };
            let run = run?;
            self.files = run.files;
            self.ready.extend(run.made);
        }
        Ok(true)
    }
}

fn merge<T, E: From<HistoryError>>(
    mut streams: Vec<Stream<T>>,
    when: impl Fn(&T) -> Option<i64>,
    mut take: impl FnMut(Run<T>) -> Result<(), E>,
) -> Result<(), E> {
    let mut files_ended = (0, 0);
    loop {
        let mut at = 0;
        while let Some(stream) = streams.get_mut(at) {
            if stream.fill()? {
                at += 1;
            } else {
                let (begun, all) = streams.remove(at).files;
                files_ended = (files_ended.0 + begun, files_ended.1 + all);
            }
        }
        let made = ordered(&mut streams, &when);
        let files = streams
            .iter()
            .fold(files_ended, |(begun, all), it| (begun + it.files.0, all + it.files.1));
        // What was judged and led to nothing counts as well, so the end is told too.
        take(Run { made, files })?;
        if streams.is_empty() {
            return Ok(());
        }
    }
}

/// Takes what is ready in its order, until of one stream nothing is.
fn ordered<T>(streams: &mut [Stream<T>], when: impl Fn(&T) -> Option<i64>) -> Vec<Placed<T>> {
    let mut made = Vec::new();
    while streams.iter().all(|it| !it.ready.is_empty()) {
        let time = |it: &Stream<T>| {
            let next = it.ready.front().and_then(|(_, made)| when(made));
            next.map_or(it.clock, |next| next.max(it.clock))
        };
        let Some(first) = streams.iter_mut().min_by_key(|it| time(it)) else { break };
        first.clock = time(first);
        made.extend(first.ready.pop_front());
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    type Made = (&'static str, Option<i64>);

    /// The names in the order in which they are handed on.
    fn merged(streams: &[&[Made]], per_run: usize) -> String {
        let stream = |made: &&[Made]| {
            let (sender, runs) = sync_channel(made.len() + 1);
            for run in made.chunks(per_run) {
                let made = run.iter().map(|it| (0, *it)).collect();
                sender.send(Ok(Run { made, files: (1, 1) })).unwrap();
            }
            Stream { runs, ready: VecDeque::new(), clock: i64::MIN, files: (0, 0) }
        };
        let (mut names, mut files) = (Vec::new(), (0, 0));
        let take = |run: Run<Made>| {
            names.extend(run.made.into_iter().map(|(_, (name, _))| name));
            files = run.files;
            Ok::<(), HistoryError>(())
        };
        merge(streams.iter().map(stream).collect(), |it| it.1, take).unwrap();
        assert_eq!(files.0, streams.iter().filter(|it| !it.is_empty()).count());
        names.join("")
    }

    #[test]
    fn each_archive_keeps_its_order_and_time_decides_between_them() {
        let first = [("a", Some(1)), ("c", Some(4)), ("d", None), ("e", Some(2)), ("i", Some(9))];
        let second = [("b", Some(3)), ("f", Some(5)), ("g", Some(5)), ("h", None)];
        for per_run in [1, 2, 5] {
            assert_eq!(merged(&[&first, &second], per_run), "abcdefghi", "{per_run}");
            assert_eq!(merged(&[&second, &first, &[]], per_run), "abcdefghi", "{per_run}");
        }
        assert_eq!(merged(&[&first[..2], &first[..1]], 1), "aac");
        assert_eq!(merged(&[&[], &[]], 1), "");
    }
}
