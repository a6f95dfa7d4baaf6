//! Rules over inputs; nothing is stored.

use std::sync::Arc;

use super::correlating::Correlating;
use super::feed::pump;
use super::in_force::InForce;
use super::lanes::{self, Entrance, PATIENCE, Received, Stream, Width};
use super::stop::Stop;
use super::worker::{Counts, Output, Worker};
use crate::clock::Clock;
use crate::detect::{Finding, Limits};
use crate::rules::RuleSet;
use crate::seal::leaf::Chain;
use crate::source::chunk::Chunker;
use crate::source::open::{Input, OpenError, open};

/// What is to be detected in.
pub struct Job {
    /// The inputs, in their order.
    pub inputs: Vec<Input>,
    /// The cluster they are of.
    pub cluster: Arc<str>,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How many threads.
    pub width: Width,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
    /// Ends it early.
    pub stop: Stop,
}

/// Runs the rules over every input and hands the findings to `take`, in the order of their
/// events; with each chunk what it held. Gives the inputs that could not be read to their end.
///
/// # Errors
/// When `take` fails: the first error it gave.
pub fn detect<E: Send>(
    job: &Job,
    mut take: impl FnMut(Vec<Finding>, &Counts) -> Result<(), E>,
) -> Result<Vec<OpenError>, E> {
    let failures = std::sync::Mutex::new(Vec::new());
    let enter = |entrance: Entrance| {
        for input in &job.inputs {
            if let Err(error) = feed(job, input, &entrance) {
                failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(error);
            }
        }
    };
    let make = || {
        let mut worker = Worker::detecting(Arc::clone(&job.clock));
        move |job: lanes::Job| worker.work(job)
    };
    let mut correlating = Correlating::new(Limits::default());
    correlating.judge_by(&job.rules);
    let result =
        lanes::run(job.width, &InForce::new(Arc::clone(&job.rules)), enter, make, |exit| {
            loop {
                match exit.next(PATIENCE) {
                    // Files that are read once have no trouble to tell of.
                    Received::Done(Output::Trouble(..)) | Received::Idle => {}
                    Received::Done(Output::Done(done)) => {
                        let mut findings = Vec::new();
                        for (_, step) in done.steps {
                            correlating.step(&done.stream.cluster, step, &mut findings);
                        }
                        take(findings, &done.counts)?;
                    }
                    Received::End => return Ok(()),
                }
            }
        });
    result.map(|()| failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn feed(job: &Job, input: &Input, entrance: &Entrance) -> Result<(), OpenError> {
    let name = input.name();
    let failed = |source| OpenError { name: name.clone(), doing: "read to its end", source };
    let mut stream = open(input)?;
    let cluster = Arc::clone(&job.cluster);
    let of = Arc::new(Stream {
        source: 0,
        cluster,
        name: name.as_str().into(),
        start: 0,
        chain: Chain::default(),
    });
    let mut chunker = Chunker::at(0, job.line_bytes_max).with_documents(true);
    let mut put = |chunk| entrance.put(&of, chunk);
    pump(&mut stream.bytes, &mut chunker, &job.stop, &mut put).map_err(failed)
}
