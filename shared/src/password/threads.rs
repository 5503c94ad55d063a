//! The threads that hash: as many as may compute at once, each taking the next work as it ends one.
//!
//! A permit handed over through the async threads left a core idle for a millisecond between two
//! hashes, 2 % of what it can do. Here the next work waits in line already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// A pool of such threads. They start when there is work, and end after some seconds without.
#[derive(Debug)]
pub(super) struct Threads {
    /// Only its blocking pool is used, for its line of work; `None` only while being dropped.
    runtime: Option<Runtime>,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failed {
    /// No thread was free in time; the work was not begun.
    Busy,
    /// The work panicked.
    Panicked(JoinError),
}

/// Work in line or under way.
struct Work<T> {
    task: JoinHandle<T>,
    /// Set by the thread that begins it.
    begun: Arc<AtomicBool>,
}

impl Threads {
    /// So many threads.
    ///
    /// # Panics
    /// If `count` is 0, or if the system has no thread or file left to make a runtime with.
    pub(super) fn new(count: usize) -> Self {
        let mut pool = Builder::new_current_thread();
        let runtime = pool.max_blocking_threads(count).thread_name("bcrypt").build();
        Self { runtime: Some(runtime.expect("a runtime without drivers opens nothing")) }
    }

    /// Does the work on one of the threads, which must begin it within `wait`.
    ///
    /// Work that is begun is done to its end: a client that hangs up frees no thread early. Work still
    /// in line is dropped with the future.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        wait: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let begun = Arc::new(AtomicBool::new(false));
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        let telling = Arc::clone(&begun);
        let task = runtime.spawn_blocking(move || {
            telling.store(true, Ordering::Relaxed);
            work()
        });
        let mut work = Work { task, begun };
        match tokio::time::timeout(wait, &mut work.task).await {
            Ok(done) => done.map_err(Failed::Panicked),
            Err(_) if work.begun.load(Ordering::Relaxed) => {
                (&mut work.task).await.map_err(Failed::Panicked)
            }
            Err(_) => Err(Failed::Busy),
        }
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        // Leaves the line, if nobody began it; else it has no effect.
        self.task.abort();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Dropped on an async thread, which may not wait for them.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
