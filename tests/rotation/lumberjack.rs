//! A writer that behaves as lumberjack v2 does, which writes the API server's audit log: what it
//! does with files, in which order, one step at a time.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Random;

/// How it rotates, and how unkind its world is.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    max_size: u64,
    max_backups: usize,
    compress: bool,
    /// Whether it deletes files that nobody has read.
    unkind: bool,
    /// How much longer than they have to be its lines are, at most.
    pad: u64,
}

impl Setting {
    pub(crate) fn of(random: &mut Random) -> Setting {
        let compress = random.one_in(2);
        let tiny = 300 + random.below(3_000);
        let (max_size, max_backups, unkind) = match random.below(10) {
            // The API server's defaults since 1.36.
            0 => (100 << 20, 100, false),
            1..=4 => (tiny, 100, false),
            5..=7 => (tiny, usize::try_from(1 + random.below(4)).unwrap(), false),
            _ => (tiny, usize::try_from(1 + random.below(3)).unwrap(), true),
        };
        Setting { max_size, max_backups, compress, unkind, pad: 2_000 }
    }

    /// The API server's defaults since 1.36, and lines with bodies, so that a file is full soon.
    pub(crate) fn defaults() -> Setting {
        let (max_size, max_backups) = (100 << 20, 100);
        Setting { max_size, max_backups, compress: false, unkind: false, pad: 16_000 }
    }
}

/// What had become of a file's lines at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All are committed.
    Kept,
    /// Not all are.
    Unread,
    /// And nothing of the whole log ever was.
    NeverSeen,
}

/// One file under all its names.
#[derive(Clone, Default)]
pub(crate) struct Generation {
    pub(crate) bytes: Vec<u8>,
    /// What had become of its lines when it was deleted, if it was.
    pub(crate) deleted: Option<Sight>,
    stem: Option<String>,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Generation { bytes, deleted, stem } = self;
        write!(f, "{stem:?}: {} bytes, {} lines, {deleted:?}", bytes.len(), self.lines().count())
    }
}

impl Generation {
    /// Its lines, the half one at its end too.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty())
    }

    /// Whether that line of it has its line feed.
    pub(crate) fn has_whole(&self, line: &[u8]) -> bool {
        self.bytes.ends_with(b"\n") || !self.bytes.ends_with(line)
    }
}

/// What it did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rotations: u64,
    pub(crate) compressed: u64,
    pub(crate) deleted: u64,
    pub(crate) collisions: u64,
    pub(crate) restarts: u64,
    pub(crate) bytes: u64,
}

/// A file that is being compressed: what was written so far.
#[derive(Debug)]
struct Compressing {
    from: PathBuf,
    to: File,
    packed: Vec<u8>,
    written: usize,
}

/// The writer.
#[derive(Debug)]
pub(crate) struct Lumberjack {
    path: PathBuf,
    setting: Setting,
    file: Option<File>,
    size: u64,
    /// Its clock, ms since it began.
    clock: u64,
    lines: u64,
    /// The second half of a line that was written by half.
    half: Option<Vec<u8>>,
    /// Its clock at the last rotation.
    rotated: u64,
    /// Whether a rotation asked for the old files to be looked after.
    mill: bool,
    compressing: Option<Compressing>,
    generations: Vec<Generation>,
    pub(crate) counts: Counts,
}

impl Lumberjack {
    pub(crate) fn new(dir: &Path, setting: Setting) -> Lumberjack {
        fs::create_dir(dir).unwrap();
        Lumberjack {
            path: dir.join("audit.log"),
            setting,
            file: None,
            size: 0,
            clock: 0,
            lines: 0,
            half: None,
            rotated: 0,
            mill: false,
            compressing: None,
            generations: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn cluster(&self) -> String {
        self.path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn generations(&self) -> &[Generation] {
        &self.generations
    }

    pub(crate) fn is_live(&self, generation: &Generation) -> bool {
        generation.stem.is_none()
    }

    /// Every file that is there.
    pub(crate) fn present(&self) -> impl Iterator<Item = (PathBuf, &Generation)> {
        self.generations.iter().filter(|it| it.deleted.is_none()).map(|it| {
            let path = match &it.stem {
                Some(stem) => self.path.with_file_name(stem),
                None => self.path.clone(),
            };
            (path, it)
        })
    }

    /// One step. `kept` says whether a file's lines are committed.
    pub(crate) fn step(&mut self, random: &mut Random, kept: &mut dyn FnMut(&Generation) -> Sight) {
        if random.one_in(2) {
            self.clock += random.below(5);
        }
        match random.below(20) {
            0 => self.restart(random),
            1 | 2 => self.mill_step(kept),
            3 => (0..8).for_each(|_| self.mill_step(kept)),
            4 if self.half.is_none() && !self.is_quick() => {
                let now = self.clock;
                if random.one_in(3) && self.counts.rotations > 0 {
                    // As if no time had passed: the new name is the old one.
                    self.clock = self.rotated;
                }
                if self.can_rotate(kept) {
                    self.rotate();
                }
                self.clock = now;
            }
            _ => self.write(random, kept),
        }
    }

    /// Writes so many bytes, and stops at once when that made it rotate.
    pub(crate) fn burst(
        &mut self,
        random: &mut Random,
        bytes: u64,
        kept: &mut dyn FnMut(&Generation) -> Sight,
    ) {
        let (until, rotations) = (self.counts.bytes + bytes, self.counts.rotations);
        while self.counts.bytes < until && self.counts.rotations == rotations {
            self.clock += 1;
            self.write(random, kept);
        }
    }

    /// The defaults do not come to their limits here.
    fn is_quick(&self) -> bool {
        self.setting.max_size > 1 << 20
    }

    /// Everything half done is done.
    pub(crate) fn settle(&mut self) {
        while self.compressing.is_some() {
            self.mill_step(&mut |_| Sight::Kept);
        }
        if let (Some(rest), Some(file)) = (self.half.take(), &mut self.file) {
            file.write_all(&rest).unwrap();
            self.generations.last_mut().unwrap().bytes.extend(rest);
        }
    }

    fn line(&mut self, random: &mut Random) -> Vec<u8> {
        self.lines += 1;
        let long = if random.one_in(10) { self.setting.pad } else { self.setting.pad / 10 };
        let pad = "x".repeat(usize::try_from(random.below(long)).unwrap());
        format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"{}-{}\",\
             \"stage\":\"ResponseComplete\",\"requestURI\":\"/{pad}\",\"verb\":\"get\",\"stageTimestamp\":\"2026-11-23T03:00:00.{:06}Z\"}}\n",
            self.cluster(), self.lines, self.lines
        )
        .into_bytes()
    }

    /// `Logger.Write`: a line that would make the file too long goes to a new one; one that is
    /// longer than a file may be is refused.
    fn write(&mut self, random: &mut Random, kept: &mut dyn FnMut(&Generation) -> Sight) {
        if let Some(rest) = self.half.take() {
            return self.append(&rest);
        }
        let line = self.line(random);
        let length = line.len() as u64;
        if length > self.setting.max_size {
            return;
        }
        if self.file.is_none() {
            self.open_existing_or_new(length, kept);
        } else if self.size + length > self.setting.max_size && self.can_rotate(kept) {
            self.rotate();
        }
        if self.file.is_none() {
            return;
        }
        if random.one_in(8) {
            // A reader can see a write half done.
            let half = usize::try_from(random.below(length)).unwrap();
            self.half = Some(line[half..].to_vec());
            return self.append(&line[..half]);
        }
        self.append(&line);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.file.as_mut().unwrap().write_all(bytes).unwrap();
        self.size += bytes.len() as u64;
        self.counts.bytes += bytes.len() as u64;
        self.generations.last_mut().unwrap().bytes.extend_from_slice(bytes);
    }

    /// `openExistingOrNew`: an existing file is appended to, unless the line does not fit.
    fn open_existing_or_new(&mut self, length: u64, kept: &mut dyn FnMut(&Generation) -> Sight) {
        self.mill = true;
        let Ok(metadata) = fs::metadata(&self.path) else { return self.open_new() };
        if metadata.len() + length >= self.setting.max_size && self.can_rotate(kept) {
            return self.rotate();
        }
        self.file = Some(OpenOptions::new().append(true).open(&self.path).unwrap());
        self.size = metadata.len();
    }

    /// `rotate`: close, rename, open anew with the old mode, then look after the old files.
    fn rotate(&mut self) {
        self.file = None;
        self.open_new();
        self.mill = true;
    }

    fn open_new(&mut self) {
        let mut options = OpenOptions::new();
        if let Ok(metadata) = fs::metadata(&self.path) {
            let name = self.backup_name();
            let collided = self
                .generations
                .iter_mut()
                .rev()
                .find(|it| it.deleted.is_none() && it.stem.as_deref() == Some(&name));
            if let Some(older) = collided {
                // `os.Rename` replaces what has the name.
                older.deleted = Some(Sight::Kept);
                self.counts.collisions += 1;
            }
            fs::rename(&self.path, self.path.with_file_name(&name)).unwrap();
            self.generations.last_mut().unwrap().stem = Some(name);
            self.counts.rotations += 1;
            self.rotated = self.clock;
            std::os::unix::fs::OpenOptionsExt::mode(
                &mut options,
                std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()),
            );
        }
        self.file = Some(options.create(true).write(true).truncate(true).open(&self.path).unwrap());
        self.size = 0;
        self.generations.push(Generation::default());
    }

    fn backup_name(&self) -> String {
        let (seconds, ms) = (self.clock / 1_000, self.clock % 1_000);
        format!("audit-2026-11-23T03-{:02}-{:02}.{ms:03}.log", seconds / 60 % 60, seconds % 60)
    }

    /// Whether a rotation now would take nothing that this schedule has to keep: a kind one waits
    /// until a file that the rotation would push out, or take the name of, is read.
    fn can_rotate(&mut self, kept: &mut dyn FnMut(&Generation) -> Sight) -> bool {
        let name = self.backup_name();
        let same = |it: &&Generation| it.deleted.is_none() && it.stem.as_deref() == Some(&name);
        if let Some(older) = self.generations.iter().find(same) {
            // One in which a compressed file has the name would not be replaced but shadowed.
            let plain = self.path.with_file_name(&name).exists();
            return plain && self.compressing.is_none() && kept(older) == Sight::Kept;
        }
        true
    }

    /// A part of `millRunOnce`: remove what is too much, then compress the rest, file by file.
    fn mill_step(&mut self, kept: &mut dyn FnMut(&Generation) -> Sight) {
        if let Some(mut work) = self.compressing.take() {
            let rest = &work.packed[work.written..];
            let next = rest.len().min(1 + work.packed.len() / 3);
            if next > 0 {
                work.to.write_all(&rest[..next]).unwrap();
                work.written += next;
                self.compressing = Some(work);
            } else {
                fs::remove_file(&work.from).unwrap();
                self.counts.compressed += 1;
            }
            return;
        }
        if !self.mill {
            return;
        }
        self.remove_old(kept);
        let plain = |it: &String| self.path.with_file_name(it).exists();
        let mut names: Vec<String> = self.backups();
        names.retain(plain);
        match names.last() {
            Some(name) if self.setting.compress => {
                let from = self.path.with_file_name(name);
                let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
                gz.write_all(&fs::read(&from).unwrap()).unwrap();
                let to = File::create(self.path.with_file_name(format!("{name}.gz"))).unwrap();
                let packed = gz.finish().unwrap();
                self.compressing = Some(Compressing { from, to, packed, written: 0 });
            }
            _ => self.mill = false,
        }
    }

    /// The names of old files, oldest first.
    fn backups(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .generations
            .iter()
            .filter(|it| it.deleted.is_none())
            .filter_map(|it| it.stem.clone())
            .collect();
        names.sort();
        names
    }

    fn remove_old(&mut self, kept: &mut dyn FnMut(&Generation) -> Sight) {
        let names = self.backups();
        let surplus = names.len().saturating_sub(self.setting.max_backups);
        for name in &names[..surplus] {
            let at = self
                .generations
                .iter_mut()
                .find(|it| it.deleted.is_none() && it.stem.as_ref() == Some(name))
                .unwrap();
            let sight = kept(at);
            if sight != Sight::Kept && !self.setting.unkind {
                return;
            }
            at.deleted = Some(sight);
            for ending in ["", ".gz"] {
                fs::remove_file(self.path.with_file_name(format!("{name}{ending}"))).ok();
            }
            self.counts.deleted += 1;
        }
    }

    /// The API server dies, maybe in the middle of a write or of compressing, and is started.
    fn restart(&mut self, random: &mut Random) {
        self.counts.restarts += 1;
        self.file = None;
        self.compressing = None;
        if random.one_in(2) {
            self.half = None;
        } else if let Some(rest) = self.half.take() {
            // The write had been done, after all.
            let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(&rest).unwrap();
            self.generations.last_mut().unwrap().bytes.extend(rest);
        }
        // The clock of the machine goes on.
        self.clock += random.below(50);
    }
}
