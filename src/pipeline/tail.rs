//! A file source of the daemon: follows one path from where it is kept.
//!
//! One rule: lines are read from one file at a time, and a file whose content may be that of
//! another under a second name is placed only after the other is read or known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::backlog::{Backlog, Known};
use super::episode::Episode;
use super::feed::UntilError;
use super::files::follow_all;
use super::following::Following;
use super::headroom::{Headroom, Rotation, Sight};
use super::intake::{Intake, Source, SourceName};
use super::integrity::{At, Integrity, Wrong};
use super::lanes::Stream;
use super::recall::Recall;
use super::resume::{Located, Named, ResumeError, locate};
use crate::archive::hints::Hint;
use crate::cause;
use crate::source::chunk::{Chunker, Next};
use crate::source::glob::has_wildcards;
use crate::source::open::{Input, OpenError, open, open_at};
use crate::source::place::{Place, Stamp};
use crate::source::rotated::Rotated;
use crate::source::tail::{Cause, Orphan, Step, Tail};
use crate::source::{self, Chunk};

/// One path to follow.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// What it is called.
    pub name: SourceName,
    /// The file; with wildcards, every file it means.
    pub path: PathBuf,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
    /// How its writer rotates it.
    pub rotation: Rotation,
}

impl Source for FileSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn run(&self, intake: Intake<'_>) {
        if has_wildcards(&self.path) {
            return follow_all(self, &intake);
        }
        self.follow(intake);
    }
}

impl FileSource {
    /// Follows the one file at its path.
    pub(super) fn follow(&self, intake: Intake<'_>) {
        Follower { source: self, intake }.follow();
    }
}

/// Follows one path into the pipeline.
struct Follower<'a> {
    source: &'a FileSource,
    intake: Intake<'a>,
}

/// A file that is open and placed.
struct Placed {
    of: Arc<Stream>,
    /// The leaf of its first line, hex.
    first: String,
}

/// A rotated file that is being read.
struct Reading {
    file: Rotated,
    placed: Placed,
    bytes: Box<dyn Read + Send>,
    chunker: Chunker,
    /// Up to where it was sent.
    end: u64,
    /// What it was stamped with before it was opened; `None`: not all of it can be read.
    stamp: Option<Stamp>,
}

/// A file that lost its path, and whether it still grows.
struct Lost {
    orphan: Orphan,
    placed: Placed,
    quiet_since: Duration,
}

/// What a follower knows while it follows.
struct State {
    tail: Tail,
    /// The file at the path, once it is placed.
    live: Option<Placed>,
    /// Whether the path was looked at, so that it is known what is there.
    looked: bool,
    backlog: Backlog,
    reading: Option<Reading>,
    lost: Vec<Lost>,
    /// How far each stream was sent: it may not be committed yet.
    sent: BTreeMap<i64, u64>,
    /// Bytes sent since the start, and when the last of them were.
    read: u64,
    sent_last: Duration,
    /// Bytes that were not, when that was last looked at.
    unread: u64,
    following: Option<Following>,
    recall: Option<Recall>,
    integrity: Integrity,
    headroom: Headroom,
    /// Of too little headroom.
    episode: Option<Episode>,
    /// When the folder is looked through again.
    survey: Duration,
    /// Since when nothing has the path, although the file is open.
    missing: Option<Duration>,
    /// Where NUL bytes ended last, and of which stream.
    nul_end: Option<(i64, u64)>,
    /// Names of rotated files that were seen.
    names: BTreeSet<String>,
    /// What was told of the source's state last.
    told: Option<Option<String>>,
}

/// How long a source sleeps between two looks whether its lines are committed.
const LOOK: Duration = Duration::from_millis(10);

/// How long lines of a log that is written all the time are gathered before they go on: a chunk costs
/// about as much with one line as with twenty. A line after a pause goes on at once.
const GATHER: Duration = Duration::from_millis(5);

/// How often the folder is looked through although nothing calls for it.
const SURVEY: Duration = Duration::from_secs(1);

/// How long the path may be missing while a rotation is under way.
const MISSING_MAX: Duration = Duration::from_secs(5);

/// How many files without a path are looked at, and for how long after they last grew. Each holds
/// its space on the disk.
const LOST_MAX: usize = 4;
const LOST_QUIET_MAX: Duration = Duration::from_secs(600);

/// How many streams' ends are remembered before those that are committed are forgotten.
const SENT_MAX: usize = 64;

/// How many names of rotated files are remembered.
const NAMES_MAX: usize = 10_000;

/// How far ahead of this machine's clock a writer's may be.
const AHEAD_MAX_MICROS: i64 = 300_000_000;

enum Advance {
    Went,
    Waits,
    Closed,
}

impl Advance {
    fn of(open: bool) -> Advance {
        if open { Advance::Went } else { Advance::Closed }
    }
}

impl Follower<'_> {
    fn follow(&self) {
        let mut state = self.begin();
        while !self.intake.stop.asked() {
            match self.advance(&mut state) {
                Ok(Advance::Went) => {}
                Ok(Advance::Closed) => return,
                Ok(Advance::Waits) => {
                    let failure = state.backlog.failure(self.now());
                    self.tell_state(&mut state, failure);
                    let lag = state.tail.lag().max(state.unread);
                    self.intake.observer.lag(&self.source.name, lag);
                    state.tail.wait();
                    let gathered = self.now().saturating_sub(state.sent_last);
                    std::thread::sleep(GATHER.saturating_sub(gathered));
                }
                Err(error) => {
                    self.tell_state(&mut state, Some(cause::line(&error)));
                    state.tail.reopen();
                    (state.live, state.reading) = (None, None);
                    state.tail.wait();
                }
            }
        }
    }

    fn begin(&self) -> State {
        let source = self.source;
        State {
            tail: Tail::new(&source.path, source.line_bytes_max),
            live: None,
            looked: false,
            backlog: Backlog::new(&source.path, source.line_bytes_max),
            reading: None,
            lost: Vec::new(),
            sent: BTreeMap::new(),
            read: 0,
            sent_last: Duration::ZERO,
            unread: 0,
            following: None,
            recall: None,
            integrity: Integrity::default(),
            headroom: Headroom::new(source.rotation),
            episode: None,
            survey: Duration::ZERO,
            missing: None,
            nul_end: None,
            names: BTreeSet::new(),
            told: None,
        }
    }

    fn now(&self) -> Duration {
        self.intake.clock.elapsed()
    }

    fn tell_state(&self, state: &mut State, failure: Option<String>) {
        if state.told.as_ref() == Some(&failure) {
            return;
        }
        if let Some(words) = &failure {
            tracing::error!(path = %self.source.path.display(), error = words, "the source cannot be read; trying again");
        }
        self.intake.observer.state(&self.source.name, failure.as_deref());
        state.told = Some(failure);
    }

    fn advance(&self, state: &mut State) -> Result<Advance, ResumeError> {
        if state.following.is_none() {
            let Self { source: FileSource { name, line_bytes_max, .. }, intake } = self;
            state.recall = Some(Recall::of(&intake.catalog, name, *line_bytes_max)?);
            state.episode = Some(Episode::of(&intake.catalog, "headroom", name)?);
            state.following = Some(Following::of(&intake.catalog, name)?);
        }
        if self.now() >= state.survey {
            self.survey(state)?;
        }
        if let Some(reading) = state.reading.take() {
            return Ok(self.read_on(state, reading));
        }
        if let Some(file) = state.backlog.next() {
            return self.begin_rotated(state, file);
        }
        match state.tail.step().map_err(|it| self.failed(it))? {
            Step::Idle => self.idle(state),
            Step::Opened => self.opened(state),
            Step::Chunk(chunk) => {
                let Some(of) = state.live.as_ref().map(|it| Arc::clone(&it.of)) else {
                    return Ok(Advance::Went);
                };
                Ok(Advance::of(self.put(state, &of, chunk)))
            }
            Step::Ended(end, cause) => self.ended(state, end, cause),
        }
    }

    fn put(&self, state: &mut State, of: &Arc<Stream>, chunk: Chunk) -> bool {
        for (position, bytes) in chunk.nul_runs() {
            self.intake.observer.nul_bytes(&self.source.name, bytes as u64);
            // A long run comes in pieces.
            if state.nul_end != Some((of.source, position)) {
                let key = [&of.source.to_be_bytes()[..], &position.to_be_bytes()];
                self.tell(state, position, &Wrong::NulRun { position }, &key);
            }
            state.nul_end = Some((of.source, position + bytes as u64));
        }
        state.sent.insert(of.source, chunk.end());
        state.read += chunk.bytes.len() as u64;
        state.sent_last = self.now();
        if let Some(following) = &mut state.following {
            following.sent(of.source, chunk.end());
        }
        self.intake.entrance.put(of, chunk)
    }

    fn tell(&self, state: &mut State, position: u64, wrong: &Wrong, key: &[&[u8]]) {
        let at = At { name: &self.source.name, path: &self.source.path, position };
        if state.integrity.tell(&self.intake, at, wrong, key)
            && let Some(following) = &mut state.following
        {
            following.told();
        }
    }

    /// Takes up what was rotated away unread, and what has to be looked at now and then.
    fn survey(&self, state: &mut State) -> Result<(), ResumeError> {
        let now = self.now();
        state.survey = now + SURVEY;
        let listed = state.backlog.list().map_err(|it| self.failed(it))?;
        self.check_names(state, &listed);
        let busy = !state.backlog.is_empty() || state.reading.is_some();
        // Looked at after the list was made: while the open file has its path, no rotated file is
        // that one under another name.
        if !busy && (!state.tail.is_open() || self.has_path(state)?) {
            self.look_back(state, &listed);
            self.recall(state, &listed);
            state.backlog.take_up(&listed, state.tail.place_of_open(), now);
        }
        self.record(state, &listed);
        self.see_headroom(state, &listed)?;
        self.judge(state)?;
        if state.sent.len() > SENT_MAX {
            let catalog = &self.intake.catalog;
            state.sent.retain(|source, end| catalog.kept_to(*source).is_ok_and(|it| it < *end));
        }
        Ok(())
    }

    /// Takes files for read that a process before has read and that have not changed since.
    fn recall(&self, state: &mut State, listed: &[Rotated]) {
        let State { backlog, recall: Some(recall), following, live, .. } = state else { return };
        for file in listed {
            let hint = if backlog.is_unseen(file) { recall.find(file) } else { None };
            let Some(hint) = hint else { continue };
            backlog.know(file, hint.first.clone(), hint.end);
            if let Some(following) = following {
                following.saw(hint.source);
                if live.is_none() {
                    following.follow(hint.source);
                }
            }
        }
    }

    /// Records which files the next process need not read.
    fn record(&self, state: &mut State, listed: &[Rotated]) {
        let Some(recall) = &mut state.recall else { return };
        if let Err(error) = recall.settle(&self.intake.catalog, listed) {
            // It costs the next start some reading, and no line.
            tracing::debug!(error = cause::line(&error), "what was read is not recorded yet");
        }
    }

    /// Notices that what was read last is gone before anything that goes on from it was opened.
    fn look_back(&self, state: &mut State, listed: &[Rotated]) {
        if state.live.is_none()
            && let Some(last) = state.backlog.lost_thread(listed)
        {
            let key = [last.first.as_bytes(), &last.end.to_be_bytes()];
            self.tell(state, last.end, &Wrong::Gap { read: last.end }, &key);
        }
    }

    fn has_path(&self, state: &State) -> Result<bool, ResumeError> {
        let replaced = state.tail.is_replaced().map_err(|it| self.failed(it))?;
        Ok(state.live.is_some() && !state.tail.is_missing() && !replaced)
    }

    /// Notices a writer's clock that was set: a file that is rotated later has an older name.
    fn check_names(&self, state: &mut State, listed: &[Rotated]) {
        let ahead = self.intake.clock.now().saturating_add(AHEAD_MAX_MICROS);
        let latest = state.names.last().cloned();
        for file in listed.iter().filter(|it| !state.names.contains(&it.stem)).collect::<Vec<_>>() {
            let than = match &latest {
                Some(latest) if *latest > file.stem => latest.clone(),
                _ if file.moment(&self.source.path).is_some_and(|it| it > ahead) => {
                    "now".to_owned()
                }
                _ => continue,
            };
            let wrong = Wrong::ClockJumped { name: file.stem.clone(), than };
            self.tell(state, 0, &wrong, &[file.stem.as_bytes()]);
        }
        if state.names.len() > NAMES_MAX {
            state.names.clear();
        }
        state.names.extend(listed.iter().map(|it| it.stem.clone()));
    }

    fn see_headroom(&self, state: &mut State, listed: &[Rotated]) -> Result<(), ResumeError> {
        let (mut unread, mut oldest) = (state.tail.lag(), None);
        let reading = state.reading.as_ref();
        let ours = state.tail.place_of_open();
        for file in listed {
            let open = ours.zip(file.place).is_some_and(|(a, b)| a.is_same_file(&b));
            let done = reading.filter(|it| it.file.stem == file.stem).map(|it| it.end);
            if open || (done.is_none() && !state.backlog.is_unseen(file)) {
                continue;
            }
            unread += file.bytes().saturating_sub(done.unwrap_or(0));
            oldest = oldest.or(file.moment(&self.source.path));
        }
        if let Ok(live) = fs::metadata(&self.source.path)
            && !ours.zip(Place::of(&live)).is_some_and(|(a, b)| a.is_same_file(&b))
        {
            unread += live.len();
        }
        let age = oldest.map(|it| self.intake.clock.now().saturating_sub(it));
        let age = age.map(|it| Duration::from_micros(u64::try_from(it).unwrap_or(0)));
        let sight = Sight { now: self.now(), read: state.read, unread, age };
        let room = state.headroom.see(&sight);
        state.unread = unread;
        self.intake.observer.headroom(&self.source.name, room.seconds);
        let Some(episode) = &mut state.episode else { return Ok(()) };
        if room.fell {
            let began = episode.begin(&self.intake.catalog, self.intake.clock.now())?;
            let rate = state.headroom.rate();
            let wrong = Wrong::Headroom { seconds: room.seconds, unread, rate };
            self.tell(state, 0, &wrong, &[began.as_bytes()]);
        } else if room.over {
            episode.end(&self.intake.catalog)?;
        }
        Ok(())
    }

    /// Once every file was seen: whether the one that was followed last is among them.
    fn judge(&self, state: &mut State) -> Result<(), ResumeError> {
        let seen = state.backlog.is_empty() && state.reading.is_none() && !state.backlog.waits();
        let any = state.live.is_some() || !state.backlog.is_unknown();
        let Some(following) = &mut state.following else { return Ok(()) };
        if seen
            && state.looked
            && any
            && let Some(source) = following.missed()
        {
            let read = self.intake.catalog.kept_to(source)?;
            let first = state.live.as_ref().map_or("", |it| &it.first).to_owned();
            let key = [&source.to_be_bytes()[..], &read.to_be_bytes(), first.as_bytes()];
            self.tell(state, read, &Wrong::Gap { read }, &key);
        }
        if let Some(following) = &mut state.following {
            following.settle(&self.intake.catalog)?;
        }
        Ok(())
    }

    /// The file at the path is open: what was rotated away before it comes first.
    fn opened(&self, state: &mut State) -> Result<Advance, ResumeError> {
        let listed = state.backlog.list().map_err(|it| self.failed(it))?;
        self.look_back(state, &listed);
        self.recall(state, &listed);
        state.backlog.take_up(&listed, state.tail.place_of_open(), self.now());
        if !state.backlog.is_empty() {
            return Ok(Advance::Went);
        }
        state.looked = true;
        let file = || state.tail.from_start().map(|it| Box::new(it) as Box<dyn Read + Send>);
        let Some(located) = self.locate(state, true, || file().map_err(|it| self.failed(it)))?
        else {
            // It may be replaced before it has a line: look at the path again next time.
            state.tail.reopen();
            self.judge(state)?;
            return Ok(Advance::Waits);
        };
        state.tail.place(located.offset).map_err(|it| self.failed(it))?;
        let placed = self.placed(state, located);
        if let Some(following) = &mut state.following {
            following.follow(placed.of.source);
        }
        state.live = Some(placed);
        state.backlog.hand_on();
        self.judge(state)?;
        Ok(Advance::Went)
    }

    fn placed(&self, state: &mut State, located: Located) -> Placed {
        let SourceName { cluster, name } = self.source.name.clone();
        let Located { source, offset: start, chain, first, .. } = located;
        if let Some(following) = &mut state.following {
            following.saw(source);
        }
        Placed { of: Arc::new(Stream { source, cluster, name, start, chain }), first }
    }

    /// Everything before `end` of the open file was sent, and it will not grow at its path.
    fn ended(&self, state: &mut State, end: u64, cause: Cause) -> Result<Advance, ResumeError> {
        let (stamp, unlinked) = (state.tail.stamp_of_open(), state.tail.is_unlinked());
        let place = state.tail.place_of_open();
        state.missing = None;
        // What follows is looked for at once.
        state.survey = Duration::ZERO;
        let Some(placed) = state.live.take() else {
            state.tail.reopen();
            return Ok(Advance::Went);
        };
        let key = [&placed.of.source.to_be_bytes()[..], &end.to_be_bytes()];
        match cause {
            Cause::CutShort(has) => {
                self.tell(state, end, &Wrong::CutShort { read: end, has }, &key);
                state.tail.reopen();
            }
            Cause::Replaced => {
                let read = Known { first: placed.first.clone(), end, place };
                let wrong = match self.fate(state, &read)? {
                    Fate::Rotated => {
                        let (first, source) = (placed.first.clone(), placed.of.source);
                        if let (Some(recall), Some(stamp)) = (&mut state.recall, stamp) {
                            recall.rotated(Hint { stamp, first, source, end });
                        }
                        None
                    }
                    Fate::Overtaken => Some(Wrong::Gap { read: end }),
                    Fate::Gone if unlinked => Some(Wrong::Unlinked),
                    Fate::Gone => Some(Wrong::MovedAway),
                };
                let lost = state.tail.let_go();
                if let (Some(wrong), Some(orphan)) = (wrong, lost) {
                    self.tell(state, end, &wrong, &key);
                    let of = Placed { of: Arc::clone(&placed.of), first: placed.first.clone() };
                    self.lose(state, orphan, of);
                }
            }
        }
        Ok(Advance::of(self.intake.entrance.end(&placed.of, end)))
    }

    /// What became of the file that had the path.
    fn fate(&self, state: &mut State, read: &Known) -> Result<Fate, ResumeError> {
        let mut others = false;
        // Twice: a file that is being compressed can be missed under both names by one look.
        for _ in 0..2 {
            let listed = state.backlog.list().map_err(|it| self.failed(it))?;
            if state.backlog.recognise(&listed, read) {
                return Ok(Fate::Rotated);
            }
            others = state.backlog.has_unknown(&listed);
        }
        Ok(if others { Fate::Overtaken } else { Fate::Gone })
    }

    fn lose(&self, state: &mut State, orphan: Orphan, placed: Placed) {
        if state.lost.len() >= LOST_MAX {
            drop(state.lost.remove(0));
        }
        state.lost.push(Lost { orphan, placed, quiet_since: self.now() });
    }

    /// There is nothing to read: what else there is to see.
    fn idle(&self, state: &mut State) -> Result<Advance, ResumeError> {
        let now = self.now();
        if !state.tail.is_open() {
            state.looked = true;
        }
        self.look_at_name(state)?;
        self.judge(state)?;
        for mut lost in std::mem::take(&mut state.lost) {
            while let Some(chunk) = lost.orphan.step().map_err(|it| self.failed(it))? {
                let (of, start) = (Arc::clone(&lost.placed.of), chunk.start);
                lost.quiet_since = now;
                self.tell(state, start, &Wrong::Unlinked, &[lost.placed.first.as_bytes()]);
                if !self.put(state, &of, chunk) {
                    return Ok(Advance::Closed);
                }
            }
            if now.saturating_sub(lost.quiet_since) < LOST_QUIET_MAX {
                state.lost.push(lost);
            }
        }
        Ok(Advance::Waits)
    }

    /// Notices an open file whose path is gone, or leads to it although it was deleted.
    fn look_at_name(&self, state: &mut State) -> Result<(), ResumeError> {
        let Some(first) = state.live.as_ref().map(|it| it.first.clone()) else { return Ok(()) };
        let now = self.now();
        let wrong = match (state.tail.is_missing(), state.tail.is_unlinked()) {
            (false, true) if !state.tail.is_replaced().map_err(|it| self.failed(it))? => {
                Wrong::MountedAlone
            }
            (true, unlinked) => {
                // Not at once: a rotation may be under way, and the open file, if it has no name left, may be
                // one that was compressed. What became of it is told when the next file has the path.
                let since = *state.missing.get_or_insert(now);
                if now.saturating_sub(since) < MISSING_MAX {
                    return Ok(());
                }
                if !unlinked && self.is_listed(state)? {
                    return Ok(());
                }
                if unlinked { Wrong::Unlinked } else { Wrong::MovedAway }
            }
            _ => {
                state.missing = None;
                return Ok(());
            }
        };
        self.tell(state, 0, &wrong, &[first.as_bytes()]);
        Ok(())
    }

    /// Whether the open file is among the rotated ones.
    fn is_listed(&self, state: &mut State) -> Result<bool, ResumeError> {
        let listed = state.backlog.list().map_err(|it| self.failed(it))?;
        let ours = state.tail.place_of_open();
        let named =
            |it: &Rotated| ours.zip(it.place).is_some_and(|(ours, it)| ours.is_same_file(&it));
        Ok(listed.iter().any(named))
    }

    fn begin_rotated(&self, state: &mut State, file: Rotated) -> Result<Advance, ResumeError> {
        let (now, damaged) = (self.now(), state.backlog.is_damaged(&file, self.now()));
        match self.open_rotated(state, &file, damaged) {
            Ok(Some(reading)) => {
                if damaged {
                    self.tell_damaged(state, &file);
                }
                if let Some(following) = state.following.as_mut().filter(|_| state.live.is_none()) {
                    following.follow(reading.placed.of.source);
                }
                state.reading = Some(reading);
                if let Some(following) = &mut state.following {
                    following.settle(&self.intake.catalog)?;
                }
            }
            Ok(None) => state.backlog.know(&file, String::new(), 0),
            Err(ResumeError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.vanished(state, &file)?;
            }
            Err(error @ ResumeError::Read { .. }) => {
                state.backlog.set_aside(&file, cause::line(&error), now);
            }
            Err(error) => return Err(error),
        }
        Ok(Advance::Went)
    }

    fn tell_damaged(&self, state: &mut State, file: &Rotated) {
        let why = state.backlog.failure(self.now()).unwrap_or_default();
        let wrong = Wrong::Damaged { name: file.stem.clone(), why };
        let bytes = file.place.map_or(0, |it| it.bytes).to_be_bytes();
        self.tell(state, 0, &wrong, &[file.stem.as_bytes(), &bytes]);
    }

    /// Opens a rotated file where it goes on. `None`: it has no line.
    fn open_rotated(
        &self,
        state: &mut State,
        file: &Rotated,
        damaged: bool,
    ) -> Result<Option<Reading>, ResumeError> {
        let input = Input::File(file.path.clone());
        let stamp = fs::metadata(&file.path).ok().and_then(|it| Stamp::of(&it));
        let opened = |result: Result<source::open::Stream, OpenError>| {
            let stream = result.map_err(|it| self.failed_at(&file.path, it.source))?;
            if damaged {
                return Ok(Box::new(UntilError(stream.bytes)) as Box<dyn Read + Send>);
            }
            if file.is_compressed() && !stream.compressed {
                // Not even its first bytes are written yet.
                return Err(self.failed_at(&file.path, io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(stream.bytes)
        };
        let Some(located) = self.locate(state, false, || opened(open(&input)))? else {
            return Ok(None);
        };
        let (offset, max) = (located.offset, self.source.line_bytes_max);
        let bytes = opened(open_at(&file.path, offset))?;
        let there = fs::metadata(&file.path).map_err(|it| self.failed_at(&file.path, it))?;
        if !file.place.zip(Place::of(&there)).is_some_and(|(ours, it)| ours.is_same_file(&it)) {
            // Its name was given to another file meanwhile.
            return Err(self.failed_at(&file.path, io::ErrorKind::NotFound.into()));
        }
        let placed = self.placed(state, located);
        let chunker = Chunker::at(offset, max);
        let stamp = stamp.filter(|_| !damaged);
        Ok(Some(Reading { file: file.clone(), placed, bytes, chunker, end: offset, stamp }))
    }

    /// Sends the next chunk of a rotated file, or notes that it was read to its end.
    fn read_on(&self, state: &mut State, mut reading: Reading) -> Advance {
        let next = match reading.chunker.next(&mut reading.bytes) {
            Ok(Next::Chunk(chunk)) => Some(chunk),
            Ok(Next::Pending) => reading.chunker.finish(),
            // Half of its last line is not sent: the other half may still be written.
            Err(error) => {
                let error = self.failed_at(&reading.file.path, error);
                state.backlog.set_aside(&reading.file, cause::line(&error), self.now());
                return Advance::Went;
            }
        };
        let of = Arc::clone(&reading.placed.of);
        if let Some(chunk) = next {
            reading.end = chunk.end();
            state.reading = Some(reading);
            return Advance::of(self.put(state, &of, chunk));
        }
        let there = fs::metadata(&reading.file.path).ok().and_then(|it| Stamp::of(&it));
        if let (Some(recall), Some(stamp)) = (&mut state.recall, there)
            && reading.stamp == there
        {
            let (first, source, end) = (reading.placed.first.clone(), of.source, reading.end);
            recall.read(Hint { stamp, first, source, end }, self.intake.clock.now());
        }
        state.backlog.know(&reading.file, reading.placed.first, reading.end);
        Advance::of(reading.end == of.start || self.intake.entrance.end(&of, reading.end))
    }

    /// A rotated file is not there any more, or its name was given to another.
    fn vanished(&self, state: &mut State, file: &Rotated) -> Result<(), ResumeError> {
        let mut listed = Vec::new();
        // Twice: a file that is being compressed can be missed under both names by one look.
        for _ in 0..2 {
            listed = state.backlog.list().map_err(|it| self.failed(it))?;
            if listed.iter().any(|it| it.stem == file.stem) {
                break;
            }
        }
        let now = listed.into_iter().find(|it| it.stem == file.stem);
        let compressed = now.as_ref().is_some_and(|it| it.is_compressed() && !file.is_compressed());
        if !compressed {
            let bytes = file.bytes();
            let wrong = Wrong::DeletedUnread { name: file.stem.clone(), bytes };
            self.tell(state, 0, &wrong, &[file.stem.as_bytes(), &bytes.to_be_bytes()]);
        }
        now.into_iter().for_each(|it| state.backlog.again(it));
        Ok(())
    }

    fn locate(
        &self,
        state: &State,
        growing: bool,
        begin: impl Fn() -> Result<Box<dyn Read + Send>, ResumeError>,
    ) -> Result<Option<Located>, ResumeError> {
        let named = Named {
            cluster: &self.source.name.cluster,
            name: &self.source.name.name,
            line_bytes_max: self.source.line_bytes_max,
            growing,
            documents: false,
        };
        let find = || locate(&self.intake.catalog, &named, &mut *begin()?, self.intake.clock.now());
        let Some(found) = find()? else { return Ok(None) };
        match state.sent.get(&found.source) {
            Some(sent) if found.offset < *sent => {
                // More of this source was sent than is committed: to go on from what is committed
                // now would send that twice.
                self.wait_until_kept(found.source, *sent)?;
                find()
            }
            _ => Ok(Some(found)),
        }
    }

    fn wait_until_kept(&self, source: i64, end: u64) -> Result<(), ResumeError> {
        while !self.intake.stop.asked() && self.intake.catalog.kept_to(source)? < end {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ResumeError {
        self.failed_at(&self.source.path, error)
    }

    fn failed_at(&self, path: &Path, error: io::Error) -> ResumeError {
        ResumeError::Read { name: path.display().to_string(), source: error }
    }
}

/// What became of a file that was replaced.
enum Fate {
    /// It has the name that its writer gave it.
    Rotated,
    /// It is not there, and others were rotated: it may be the oldest, deleted, and not alone.
    Overtaken,
    /// It is not there, and nothing else happened.
    Gone,
}
