//! What the process itself costs, under the names Prometheus' own clients use.

use metrics::{describe_gauge, gauge};

/// Linux counts processor time for user space in hundredths of a second, whatever the kernel does inside.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn describe() {
    describe_gauge!("process_resident_memory_bytes", "Memory of this process that is in RAM.");
    describe_gauge!("process_cpu_seconds", "Processor time used so far.");
    describe_gauge!("process_open_fds", "Files and sockets open.");
}

/// Reads the gauges anew. Does nothing where there is no `/proc`.
pub(super) fn record() {
    if let Some(bytes) = resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Some(seconds) = cpu_seconds() {
        gauge!("process_cpu_seconds").set(seconds);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // A count of open files is far below what a float holds exactly.
        gauge!("process_open_fds").set(u32::try_from(entries.count()).map_or(0.0, f64::from));
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in brackets and may contain anything; fields count from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}
