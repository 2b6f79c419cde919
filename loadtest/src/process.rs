//! What other processes spend, read from `/proc`: processor time per request moves far less between
//! runs and machines than any rate does.

use std::fs;
use std::time::Duration;

/// What a group of processes has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since each began.
    pub cpu: Duration,
    /// Resident memory now.
    pub rss_bytes: u64,
}

impl Usage {
    /// Processor time spent since `earlier`.
    #[must_use]
    pub fn cpu_since(&self, earlier: &Self) -> Duration {
        self.cpu.saturating_sub(earlier.cpu)
    }
}

/// Adds up what `pids` have used. A process that is gone counts as nothing.
#[must_use]
pub fn usage(pids: &[u32]) -> Usage {
    let mut all = Usage::default();
    for pid in pids {
        if let Some(stat) = Stat::read(*pid) {
            all.cpu += stat.cpu;
        }
        all.rss_bytes += rss_bytes(*pid).unwrap_or(0);
    }
    all
}

/// `roots` and everything they started that still runs. Postgres makes a process per connection.
#[must_use]
pub fn with_descendants(roots: &[u32]) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::read(pid)?))) {
            parents.push((pid, stat.parent));
        }
    }
    let mut family: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while let Some(member) = family.get(next).copied() {
        next += 1;
        for (pid, parent) in &parents {
            if *parent == member && !family.contains(pid) {
                family.push(*pid);
            }
        }
    }
    family
}

/// Lets this process open as many sockets as the system allows it.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit is odd; the run then meets its first failed connection and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

struct Stat {
    parent: u32,
    cpu: Duration,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, ticks_per_second())
    }

    fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        // The name may hold spaces and brackets; nothing after its last bracket does. The fields that
        // follow begin with the third, the state.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: Duration::from_micros(ticks * 1_000_000 / ticks_per_second.max(1)),
        })
    }
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = Stat::parse("7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0", 100).unwrap();
        assert_eq!((stat.parent, stat.cpu), (3, Duration::from_secs(3)));
    }

    #[test]
    fn this_process_uses_memory_and_is_its_own_family() {
        let own = std::process::id();
        assert!(usage(&[own]).rss_bytes > 100_000);
        assert!(with_descendants(&[own]).contains(&own));
    }
}
