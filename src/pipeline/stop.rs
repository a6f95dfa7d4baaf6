//! How everything is asked to end, and how threads are started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Asks everything that holds a copy to come to an end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks. It cannot be taken back.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The exit code of a process whose thread panicked: the one Rust gives a panicking `main`.
const PANICKED: i32 = 101;

/// Wraps what a thread does. If it panics the process ends, and the next start recovers: a
/// half-dead pipeline that looks alive would lose events.
pub fn guarded<T, B: FnOnce() -> T>(name: &str, body: B) -> impl FnOnce() -> T + use<T, B> {
    let name = name.to_owned();
    move || {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        caught.unwrap_or_else(|_| {
            tracing::error!(
                thread = name,
                "a thread panicked; the process ends so that the next start recovers"
            );
            std::process::exit(PANICKED)
        })
    }
}

/// Starts a named thread whose body is [`guarded`].
///
/// # Panics
/// When the system gives no thread.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let body = guarded(name, body);
    #[expect(clippy::expect_used, reason = "a machine without threads cannot run this program")]
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system gives a thread")
}
