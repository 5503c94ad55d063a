//! Which core a thread runs on.

/// Keeps the calling thread, and all threads and processes it starts from now on, on one core.
///
/// # Errors
/// If there is no such core.
#[cfg(target_os = "linux")]
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use rustix::thread::{CpuSet, sched_setaffinity};
    anyhow::ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {core} cannot be used"))
}

/// Tells that this system cannot.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_core: usize) -> anyhow::Result<()> {
    anyhow::bail!("--server-core and --load-core need Linux")
}
