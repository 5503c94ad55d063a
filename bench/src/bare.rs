//! bcrypt alone, with nothing around it: what the logins are measured against. The same crate, built
//! into this program with the same profile, so a login can at best be as fast.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// As long as what Keywire hashes: base64 of a MAC of 48 bytes. bcrypt's work does not depend on it.
const INPUT: [u8; 64] = [b'a'; 64];

/// A hash to check against.
#[derive(Debug, Clone)]
pub(crate) struct Bare(String);

impl Bare {
    /// A hash of this cost.
    ///
    /// # Errors
    /// bcrypt's, for a cost it does not know.
    pub(crate) fn new(cost: u32) -> anyhow::Result<Self> {
        let hash = bcrypt::non_truncating_hash(INPUT, cost).context("bare bcrypt")?;
        Ok(Self(hash))
    }

    /// Checks it once.
    ///
    /// # Panics
    /// If bcrypt does not know its own hash again.
    #[expect(
        clippy::disallowed_methods,
        reason = "measured is bcrypt itself, not shared::password"
    )]
    pub(crate) fn check(&self) -> Duration {
        let start = Instant::now();
        let right = bcrypt::verify(INPUT, &self.0);
        let took = start.elapsed();
        assert!(matches!(right, Ok(true)), "bcrypt does not know its own hash");
        took
    }

    /// Checks it once, off the async threads.
    ///
    /// # Errors
    /// If it panicked.
    pub(crate) async fn check_off_thread(&self) -> anyhow::Result<Duration> {
        let bare = self.clone();
        tokio::task::spawn_blocking(move || bare.check()).await.context("bare bcrypt")
    }

    /// Checks it on so many threads until `end`; how many ended between `start` and `end`.
    ///
    /// # Errors
    /// If a thread panicked.
    pub(crate) async fn saturate(
        &self,
        threads: usize,
        start: Instant,
        end: Instant,
    ) -> anyhow::Result<usize> {
        let one = || {
            let bare = self.clone();
            tokio::task::spawn_blocking(move || {
                let mut counted = 0;
                loop {
                    bare.check();
                    let now = Instant::now();
                    if now >= end {
                        return counted;
                    }
                    counted += usize::from(now >= start);
                }
            })
        };
        let running: Vec<_> = std::iter::repeat_with(one).take(threads).collect();
        let mut counted = 0;
        for thread in running {
            counted += thread.await.context("bare bcrypt")?;
        }
        Ok(counted)
    }
}
