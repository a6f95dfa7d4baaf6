//! The disk of a schedule: it refuses, is full, takes a part of what is written, says that it failed although it
//! did not, is slow, or is the last thing the process saw.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use kustos::clock::{Clock, StandingClock};
use kustos::durable::fault::{self, Fault};

use super::random::Random;

/// How the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// Steps take their time.
    Slow,
    /// One step in seven fails, or says so.
    Failing,
    /// Nothing can be written whole.
    Full,
    /// The process has ended.
    Dead,
}

struct State {
    health: Health,
    random: Random,
    /// The process ends at a step, one in so many.
    deaths: Option<u64>,
    clock: Arc<StandingClock>,
}

/// Decides over the durable steps of this thread until it is dropped.
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    pub(crate) fn new(random: Random, clock: Arc<StandingClock>) -> Disk {
        let state = State { health: Health::Well, random, deaths: None, clock };
        let disk = Disk(Rc::new(RefCell::new(state)));
        let shared = Rc::clone(&disk.0);
        fault::plan(Some(Box::new(move |name| shared.borrow_mut().at(name))));
        disk
    }

    pub(crate) fn put(&self, health: Health) {
        self.0.borrow_mut().health = health;
    }

    pub(crate) fn health(&self) -> Health {
        self.0.borrow().health
    }

    /// From now on the process ends at one step in so many.
    pub(crate) fn kill_at_one_in(&self, steps: Option<u64>) {
        self.0.borrow_mut().deaths = steps;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        fault::plan(None);
    }
}

impl State {
    fn at(&mut self, name: &str) -> Option<Fault> {
        if self.deaths.is_some_and(|it| self.random.below(it) == 0) && self.health != Health::Dead {
            self.health = Health::Dead;
            // The step is done, or not, or begun; nobody is left to hear of it.
            return Some(match self.random.below(3) {
                0 => Fault::Failed,
                1 => Fault::Reported,
                _ => self.torn(),
            });
        }
        match self.health {
            Health::Well => None,
            Health::Slow => {
                let waited = i64::try_from(self.random.below(200_000)).unwrap();
                self.clock.put(self.clock.now() + waited);
                None
            }
            Health::Failing => match self.random.below(20) {
                0 => Some(Fault::Failed),
                1 => Some(Fault::Reported),
                2 => Some(self.torn()),
                _ => None,
            },
            // What is removed makes room.
            Health::Full if name == "a file is removed" => None,
            // A name often finds room where bytes do not, or not all of them.
            Health::Full if name.ends_with(" is created") && self.random.below(2) == 0 => None,
            Health::Full => Some(self.torn()),
            Health::Dead => Some(Fault::Failed),
        }
    }

    fn torn(&mut self) -> Fault {
        Fault::Torn(u8::try_from(self.random.below(256)).unwrap())
    }
}
