//! Durable steps that fail when a test wants it. Only in builds with debug assertions: no setting of
//! its environment makes a released program lose a write.
//!
//! A process counts its steps from 1. `KUSTOS_FAULT=17:reported` does the seventeenth and says that it failed;
//! `KUSTOS_FAULT_LOG=FILE` adds a line with number and name for each. A test in one process gives a plan instead.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and says so. Of bytes to be written half may be.
    Failed,
    /// It is done, and says that it failed.
    Reported,
    /// It is done, and the process ends at once.
    Died,
}

type Plan = Box<dyn FnMut(&'static str) -> Option<Fault>>;

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// From now on the plan decides over every step of this thread, by its name; `None`: the environment does.
pub fn plan(plan: Option<Plan>) {
    PLAN.set(plan);
}

/// What is to become of the step with that name.
pub(super) fn at(name: &'static str) -> Option<Fault> {
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
    log: Option<std::fs::File>,
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
        let fault = match word {
            "failed" => Some(Fault::Failed),
            "reported" => Some(Fault::Reported),
            "died" => Some(Fault::Died),
            _ => None,
        };
        let log = std::env::var_os("KUSTOS_FAULT_LOG")
            .and_then(|it| OpenOptions::new().create(true).append(true).open(it).ok());
        let any = fault.is_some() || log.is_some();
        any.then(|| Asked { step: step.parse().unwrap_or(0), fault, log, steps: AtomicU64::new(0) })
    })
}
