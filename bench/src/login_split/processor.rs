//! Where the cores' time goes while logins saturate them.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::machine::{Used, ticks};
use crate::report::rounded;

/// Time of all cores together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// By Keywire's own process, hashes included.
    keywire: Duration,
    /// By its Postgres.
    postgres: Duration,
    /// By this process, which makes the load.
    load: Duration,
    /// By everything, the kernel's own threads included.
    all: Duration,
    /// By nobody, the wait for a disk included.
    idle: Duration,
    /// By other machines on the same hardware.
    stolen: Duration,
}

impl Spent {
    /// Since the start of each process and of the machine.
    ///
    /// # Errors
    /// Where there is no `/proc`, or if a process is gone.
    pub(super) fn so_far(keywire: u32) -> anyhow::Result<Self> {
        let served = Used::by(keywire)?;
        let load = Used::by(std::process::id())?.process;
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        // proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guests count as user.
        let fields: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let sum = |fields: &[&u64]| ticks(fields.iter().copied().sum());
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = &fields[..] else {
            anyhow::bail!("/proc/stat has another shape")
        };
        Ok(Self {
            keywire: served.process,
            postgres: served.descendants,
            load,
            all: sum(&[user, nice, system, irq, softirq])?,
            idle: sum(&[idle, iowait])?,
            stolen: sum(&[steal])?,
        })
    }

    /// What was spent since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        self.with(before, Duration::saturating_sub)
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        self.with(other, Duration::saturating_add)
    }

    fn with(self, other: Self, combine: impl Fn(Duration, Duration) -> Duration) -> Self {
        Self {
            keywire: combine(self.keywire, other.keywire),
            postgres: combine(self.postgres, other.postgres),
            load: combine(self.load, other.load),
            all: combine(self.all, other.all),
            idle: combine(self.idle, other.idle),
            stolen: combine(self.stolen, other.stolen),
        }
    }

    /// Milliseconds for each of so many logins.
    pub(super) fn of_each(self, logins: usize) -> Value {
        let logins = u32::try_from(logins).unwrap_or(u32::MAX).max(1);
        let of_each = |spent: Duration| rounded((spent / logins).as_secs_f64() * 1e3);
        let named = self.keywire + self.postgres + self.load;
        json!({
            "keywire": of_each(self.keywire), "postgres": of_each(self.postgres),
            "load": of_each(self.load), "others": of_each(self.all.saturating_sub(named)),
            "idle": of_each(self.idle), "stolen": of_each(self.stolen),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_seen_in_it_and_in_the_cores() {
        let me = std::process::id();
        let before = Spent::so_far(me).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let spent = Spent::so_far(me).unwrap().since(before);
            // The kernel adds to the process and to the core one after the other.
            if spent.load > Duration::ZERO && spent.all > Duration::ZERO {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "no time was used: {spent:?}");
        }
    }
}
