//! Durable steps that fail when a test wants it. Only in builds with debug assertions: no setting of
//! its environment makes a released program lose a write.
//!
//! A process counts its steps from 1. `KUSTOS_FAULT=17:reported` does the seventeenth and says that it failed,
//! `KUSTOS_FAULT=17:torn:128` leaves half of the bytes it writes; `KUSTOS_FAULT_LOG=FILE` adds a line with number and name for each. A test in one process gives a plan instead.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and says so.
    Failed,
    /// It is done, and says that it failed.
    Reported,
    /// It is done, and the process ends at once.
    Died,
    /// Of what it writes, or makes last, so many 256ths are in the file, and it says that it failed. A step that
    /// fills no file is not done.
    Torn(u8),
    /// The machine stops: of what was written and not made last, so many 256ths are in the file. A step that fills
    /// no file is not done.
    Lost(u8),
}

type Plan = Box<dyn FnMut(&'static str) -> Option<Fault>>;

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// From now on the plan decides over every step of this thread, by its name; `None`: the environment does.
pub fn plan(plan: Option<Plan>) {
    PLAN.set(plan);
}

/// Does a step, or what its fault makes of it. `file`: it is to hold what `act` puts there.
pub(super) fn play<T, E>(
    name: &'static str,
    file: Option<&File>,
    refused: impl FnOnce() -> E,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match at(name) {
        None => act(),
        Some(Fault::Failed) => Err(refused()),
        Some(Fault::Reported) => act().and_then(|_| Err(refused())),
        Some(Fault::Died) => {
            drop(act());
            std::process::abort();
        }
        Some(Fault::Torn(share)) => {
            if let Some(file) = file {
                act()?;
                cut(file, share);
            }
            Err(refused())
        }
        Some(Fault::Lost(share)) => {
            if let Some(file) = file {
                drop(act());
                cut(file, share);
            }
            std::process::abort();
        }
    }
}

/// Leaves so many 256ths of a file, counted from its beginning.
fn cut(file: &File, share: u8) {
    let kept = file.metadata().and_then(|it| file.set_len(it.len() * u64::from(share) / 256));
    assert!(kept.is_ok(), "a test tears a file that it may write");
}

/// What is to become of the step with that name.
fn at(name: &'static str) -> Option<Fault> {
    // The plan is taken out while it decides: what it does itself is no step of the program.
    if let Some(mut plan) = PLAN.take() {
        let fault = plan(name);
        PLAN.set(Some(plan));
        return fault;
    }
    asked().as_ref()?.at(name)
}

/// What the environment asks for.
struct Asked {
    step: u64,
    fault: Option<Fault>,
    log: Option<File>,
    steps: AtomicU64,
}

impl Asked {
    fn at(&self, name: &'static str) -> Option<Fault> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut log) = self.log.as_ref() {
            // A log that cannot be written shows in the test that reads it.
            drop(log.write_all(format!("{step} {name}\n").as_bytes()));
        }
        self.fault.filter(|_| step == self.step)
    }
}

fn asked() -> &'static Option<Asked> {
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    ASKED.get_or_init(|| {
        let text = std::env::var("KUSTOS_FAULT").unwrap_or_default();
        let (step, word) = text.split_once(':').unwrap_or(("0", ""));
        let (word, share) = word.split_once(':').unwrap_or((word, "0"));
        let share = share.parse().unwrap_or(0);
        let fault = match word {
            "failed" => Some(Fault::Failed),
            "reported" => Some(Fault::Reported),
            "died" => Some(Fault::Died),
            "torn" => Some(Fault::Torn(share)),
            "lost" => Some(Fault::Lost(share)),
            _ => None,
        };
        let log = std::env::var_os("KUSTOS_FAULT_LOG")
            .and_then(|it| OpenOptions::new().create(true).append(true).open(it).ok());
        let any = fault.is_some() || log.is_some();
        any.then(|| Asked { step: step.parse().unwrap_or(0), fault, log, steps: AtomicU64::new(0) })
    })
}
