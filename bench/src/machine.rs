//! The machine under the figures, and the processor time that a process used.

use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// `{"processor", "cores", "kernel", "load"}`; the load is the average of the last minute. What the
/// system does not tell is null.
pub(crate) fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let first_word =
        |path| Some(fs::read_to_string(path).ok()?.split_whitespace().next()?.to_owned());
    json!({
        "processor": model.map(|(_, name)| name), "cores": cores(),
        "kernel": first_word("/proc/sys/kernel/osrelease"), "load": first_word("/proc/loadavg"),
    })
}

/// Processor time used so far, in steps of the kernel's clock (10 ms as a rule).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// By the process itself.
    pub(crate) process: Duration,
    /// By all the processes it started that still live, and theirs.
    pub(crate) descendants: Duration,
}

impl Used {
    /// By this process and those below it.
    ///
    /// # Errors
    /// Where there is no `/proc`, or if the process is gone.
    pub(crate) fn by(pid: u32) -> anyhow::Result<Self> {
        let all: Vec<_> = fs::read_dir("/proc")?
            .filter_map(Result::ok)
            .filter_map(|entry| Stat::of(entry.file_name().to_str()?.parse().ok()?))
            .collect();
        let own = all.iter().find(|stat| stat.pid == pid).context("the process is gone")?;
        let mut family = vec![pid];
        let mut descendants = Duration::ZERO;
        while let Some(parent) = family.pop() {
            for child in all.iter().filter(|stat| stat.parent == parent) {
                family.push(child.pid);
                descendants += child.used;
            }
        }
        Ok(Self { process: own.used, descendants })
    }
}

/// So many steps of the kernel's clock.
///
/// # Errors
/// If the kernel does not say how long one is.
pub(crate) fn ticks(count: u64) -> anyhow::Result<Duration> {
    let a_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Duration::from_secs(count).checked_div(a_second).context("no kernel clock")
}

/// What is needed of `/proc/PID/stat`.
struct Stat {
    pid: u32,
    parent: u32,
    used: Duration,
}

impl Stat {
    /// `None` when the process is gone meanwhile.
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything. After it, from field 3: state, parent
        // and, as fields 14 and 15, the ticks in user and system mode (proc_pid_stat(5)).
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let used = ticks(number(14)? + number(15)?).ok()?;
        Some(Self { pid, parent: u32::try_from(number(4)?).ok()?, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_computes_is_seen_to_use_time() {
        let me = std::process::id();
        let before = Used::by(me).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let mut sum = 0_u64;
        while Used::by(me).unwrap().process == before.process {
            assert!(std::time::Instant::now() < deadline, "no time was used");
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
