//! What the server's process uses, read from outside.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::machine::Used;
use crate::report::rounded;

/// Reads a server's process; without one, all it tells is null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    pid: Option<u32>,
}

/// What was used up to a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    /// Processor time of the server and the processes it started.
    server: Option<Duration>,
    /// Processor time of this process.
    load: Option<Duration>,
    /// TCP segments with data that this machine sent, those of the load included.
    segments: Option<u64>,
}

/// What was used between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Processor time of the server.
    server: Option<Duration>,
    /// Shares of one core, while it lasted.
    server_share: Option<f64>,
    load_share: Option<f64>,
    segments: Option<u64>,
}

/// Memory of the server, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: u64,
    /// Resident, what is shared with others counted in parts.
    pub(crate) pss: u64,
}

impl Meter {
    /// For the server's process, if it is known.
    pub(crate) fn new(pid: Option<u32>) -> Self {
        Self { pid }
    }

    /// What was used until now.
    ///
    /// # Errors
    /// If the server is gone.
    pub(crate) fn read(self) -> anyhow::Result<Reading> {
        let all = |pid| Used::by(pid).map(|used| used.process + used.descendants);
        Ok(Reading {
            at: Instant::now(),
            server: self.pid.map(all).transpose().context("the server has ended")?,
            load: Used::by(std::process::id()).ok().map(|used| used.process),
            segments: segments(),
        })
    }

    /// The server's resident memory now, in bytes. Cheap enough to ask under load.
    ///
    /// # Errors
    /// If the server is gone, or this is not Linux.
    pub(crate) fn rss(self) -> anyhow::Result<Option<u64>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let text = fs::read_to_string(format!("/proc/{pid}/statm"));
        let text = text.context("the server's memory cannot be read")?;
        // In pages: the whole address space, what of it is resident, and more (proc_pid_statm(5)).
        let pages = text.split_whitespace().nth(1).context("no resident pages")?;
        Ok(Some(pages.parse::<u64>()? * rustix::param::page_size() as u64))
    }

    /// The server's memory now.
    ///
    /// # Errors
    /// If the server is gone, or this is not Linux.
    pub(crate) fn memory(self) -> anyhow::Result<Option<Memory>> {
        self.pid.map(Memory::of).transpose()
    }
}

impl Memory {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .context("the server's memory cannot be read")?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
        };
        let fields = field("Rss:").zip(field("Pss:"));
        let (rss, pss) = fields.context("the server's memory is told in another form")?;
        Ok(Self { rss, pss })
    }

    /// `{"rss", "pss"}` and, over what it was `before` so many connections, bytes of each.
    pub(crate) fn json(self, before: Self, connections: usize) -> Value {
        let each = |now: u64, before: u64| {
            let connections = i64::try_from(connections.max(1)).unwrap_or(i64::MAX);
            (now.cast_signed() - before.cast_signed()) / connections
        };
        json!({
            "rss": self.rss, "pss": self.pss,
            "rss_per_connection": each(self.rss, before.rss),
            "pss_per_connection": each(self.pss, before.pss),
        })
    }
}

impl Reading {
    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Cost {
        let lasted = (self.at - before.at).as_secs_f64();
        let used =
            |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?));
        let server = used(self.server, before.server);
        let share = |used: Option<Duration>| Some(rounded(used?.as_secs_f64() / lasted));
        Cost {
            server,
            server_share: share(server),
            load_share: share(used(self.load, before.load)),
            segments: self.segments.zip(before.segments).map(|(now, then)| now - then),
        }
    }
}

impl Cost {
    /// `{"server_us_per_delivery", "server_core", "load_core", "segments_per_delivery"}`; the load
    /// itself wrote `own_writes` times. A segment is at most 64 KiB on loopback, and a `send` to a
    /// client that keeps up is one: so this counts the server's sends.
    pub(crate) fn json(&self, deliveries: u64, own_writes: u64) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let each = |figure: f64| rounded(figure / deliveries.max(1) as f64);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let sends = self.segments.map(|all| all.saturating_sub(own_writes) as f64);
        json!({
            "server_us_per_delivery": self.server.map(|used| each(used.as_secs_f64() * 1e6)),
            "server_core": self.server_share, "load_core": self.load_share,
            "segments_per_delivery": sends.map(each),
        })
    }
}

/// Bytes in the kernel's TCP buffers, of the whole machine: what a server has handed over and its
/// clients have not read is there, and in no process's memory. `/proc/net/sockstat`, in pages.
pub(crate) fn tcp_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let mut words = text.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|word| *word == "mem")?;
    Some(words.next()?.parse::<u64>().ok()? * rustix::param::page_size() as u64)
}

/// `TCPOrigDataSent` of `/proc/net/netstat`: names in one line, numbers in the next.
fn segments() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next()?.split(' '), lines.next()?.split(' '));
    let (_, number) = names.zip(numbers).find(|(name, _)| *name == "TCPOrigDataSent")?;
    number.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_seen_to_grow() {
        let meter = Meter::new(Some(std::process::id()));
        let before = meter.memory().unwrap().unwrap();
        let mut bytes = vec![1_u8; 32 << 20];
        std::hint::black_box(&mut bytes);
        let after = meter.memory().unwrap().unwrap();
        assert!(after.rss > before.rss + (16 << 20), "{before:?} {after:?}");
        assert!(after.json(before, 1 << 20)["rss_per_connection"].as_i64().unwrap() >= 16);
        drop(bytes);
    }

    #[test]
    fn the_kernel_tells_of_its_buffers_and_segments() {
        assert!(tcp_memory().is_some() && segments().is_some());
    }

    #[test]
    fn without_a_process_its_figures_are_null() {
        let meter = Meter::new(None);
        let before = meter.read().unwrap();
        let cost = meter.read().unwrap().since(&before).json(1, 0);
        assert!(
            cost["server_us_per_delivery"].is_null() && cost["load_core"].is_number(),
            "{cost}"
        );
        assert!(meter.memory().unwrap().is_none());
    }
}
