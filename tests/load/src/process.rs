//! What a process costs, from the operating system's accounting (`/proc`).

use std::collections::HashMap;
use std::fs;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::clock;

/// CPU time of a set of processes at one moment.
#[derive(Debug, Clone)]
pub struct CpuSample {
    at_ns: u64,
    threads: HashMap<(u32, u32), u64>,
    ticks: HashMap<u32, Ticks>,
}

/// Coarse times of one process.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    user: u64,
    kernel: u64,
}

/// CPU time between two samples.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CpuUsed {
    /// On-CPU time of all threads, in nanoseconds (`/proc/PID/task/*/schedstat`).
    pub on_cpu_ns: u64,
    /// Part of it spent in the kernel, 0 to 1, from the coarser ticks of `/proc/PID/stat`.
    pub kernel_share: f64,
    /// On-CPU time by wall time: 1 is one core fully used.
    pub cores: f64,
    /// Threads that ended in between, whose last share of time is not in the figures.
    pub threads_ended: usize,
}

impl CpuSample {
    /// Reads the accounts of `pids`. One that has ended has none: what it used since the last sample is not known.
    pub fn take(pids: &[u32]) -> anyhow::Result<Self> {
        let mut sample = Self { at_ns: clock::now_ns(), threads: HashMap::new(), ticks: HashMap::new() };
        for &pid in pids {
            if is_there(pid) {
                sample.add(pid).with_context(|| format!("CPU accounting of process {pid}"))?;
            }
        }
        Ok(sample)
    }

    fn add(&mut self, pid: u32) -> anyhow::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread may end between listing and reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let thread: u32 = entry.file_name().to_string_lossy().parse()?;
            let on_cpu_ns = text.split(' ').next().context("schedstat is empty")?.parse()?;
            self.threads.insert((pid, thread), on_cpu_ns);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the command in parentheses and may hold spaces; 14 and 15 are utime and stime.
        let (_, fields) = stat.rsplit_once(") ").context("stat has no command")?;
        let mut fields = fields.split(' ').skip(11);
        let user = fields.next().context("stat has no utime")?.parse()?;
        let kernel = fields.next().context("stat has no stime")?.parse()?;
        self.ticks.insert(pid, Ticks { user, kernel });
        Ok(())
    }

    /// The part that one process has in the sample.
    fn of(&self, pid: u32) -> Self {
        let threads = self.threads.iter().filter(|((owner, _), _)| *owner == pid);
        Self {
            at_ns: self.at_ns,
            threads: threads.map(|(thread, on_cpu_ns)| (*thread, *on_cpu_ns)).collect(),
            ticks: self.ticks.get(&pid).map(|ticks| (pid, *ticks)).into_iter().collect(),
        }
    }

    /// What each of `pids` used from `self` to `later`.
    pub fn each_until(&self, later: &Self, pids: &[u32]) -> Vec<CpuUsed> {
        pids.iter().map(|pid| self.of(*pid).until(&later.of(*pid))).collect()
    }

    /// What was used from `self` to `later`.
    pub fn until(&self, later: &Self) -> CpuUsed {
        let since = |(thread, on_cpu_ns): (&(u32, u32), &u64)| {
            on_cpu_ns.saturating_sub(self.threads.get(thread).copied().unwrap_or(0))
        };
        let on_cpu_ns: u64 = later.threads.iter().map(since).sum();
        let (mut user, mut kernel) = (0, 0);
        for (pid, after) in &later.ticks {
            let before = self.ticks.get(pid).copied().unwrap_or_default();
            user += after.user.saturating_sub(before.user);
            kernel += after.kernel.saturating_sub(before.kernel);
        }
        let ended = self.threads.keys().filter(|thread| !later.threads.contains_key(thread));
        CpuUsed {
            on_cpu_ns,
            kernel_share: kernel as f64 / (user + kernel).max(1) as f64,
            cores: on_cpu_ns as f64 / (later.at_ns - self.at_ns).max(1) as f64,
            threads_ended: ended.count(),
        }
    }
}

/// Resident bytes of all `pids` together.
///
/// `VmRSS` is kept per CPU and may lag by some hundred KiB, so the exact sum of the page tables is read instead.
pub fn resident_bytes(pids: &[u32]) -> anyhow::Result<u64> {
    sum_kib(pids, "smaps_rollup", "Rss:")
}

/// Largest resident size so far, in bytes (`VmHWM`).
pub fn peak_resident_bytes(pids: &[u32]) -> anyhow::Result<u64> {
    sum_kib(pids, "status", "VmHWM:")
}

/// Whether the process has not ended; one that was not waited for has no memory and no threads either.
fn is_there(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn sum_kib(pids: &[u32], file: &str, key: &str) -> anyhow::Result<u64> {
    let mut kib = 0;
    for pid in pids.iter().filter(|pid| is_there(**pid)) {
        let path = format!("/proc/{pid}/{file}");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib += value.with_context(|| format!("{path} has no {key}"))?.parse::<u64>()?;
    }
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_asked_for_its_time_and_memory() {
        let me = [std::process::id()];
        let before = CpuSample::take(&me).unwrap();
        let sum: u64 = (0..2_000_000u64).map(std::hint::black_box).sum();
        assert!(sum > 0);
        let used = before.until(&CpuSample::take(&me).unwrap());
        assert!(used.on_cpu_ns > 0);
        assert_eq!(before.of(me[0]).threads.len(), before.threads.len());
        assert!(before.of(0).threads.is_empty() && before.of(0).ticks.is_empty());
        assert!(peak_resident_bytes(&me).unwrap() >= 100_000 && resident_bytes(&me).unwrap() >= 100_000);
    }
}
