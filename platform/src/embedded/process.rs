//! What a process id stands for right now.

use std::path::Path;

/// Answers about one process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The server that owns the data folder.
    Server,
    /// Nobody; or a process that has ended and waits for a parent that never asks.
    Gone,
    /// Something else: the number was given out again.
    Stranger,
}

/// Who has `pid`, seen from the owner of `data`.
///
/// Signal 0 is not asked: a zombie answers it, and so does whoever inherited the number.
pub(super) fn standing(pid: u32, data: &Path) -> Standing {
    let Some(command) = command_line(pid) else {
        return Standing::Gone;
    };
    let is_server = command.first().is_some_and(|program| {
        matches!(Path::new(program).file_name().and_then(|name| name.to_str()), Some("postgres" | "postmaster"))
    });
    let names_folder = command.iter().any(|word| Path::new(word) == data);
    let works_there = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    if is_server && (names_folder || works_there) { Standing::Server } else { Standing::Stranger }
}

/// The words a live process was started with; `None` when it is gone or a zombie.
#[cfg(target_os = "linux")]
fn command_line(pid: u32) -> Option<Vec<String>> {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = raw.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(text).collect();
    // A zombie has given its memory back, and with it its command line.
    (!words.is_empty()).then_some(words)
}

/// The words a live process was started with; `None` when it is gone or a zombie.
#[cfg(not(target_os = "linux"))]
fn command_line(pid: u32) -> Option<Vec<String>> {
    let pid = pid.to_string();
    let output = std::process::Command::new("ps").args(["-o", "stat=,command=", "-p", &pid]).output().ok()?;
    let line = text(&output.stdout);
    let (state, command) = line.trim().split_once(char::is_whitespace)?;
    if state.starts_with('Z') {
        return None;
    }
    Some(command.split_whitespace().map(str::to_owned).collect())
}

fn text(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

/// Live processes that work in `data`: what a killed server may leave behind for some milliseconds.
///
/// Empty on systems without `/proc`, where the server's own check of shared memory has to do.
pub(super) fn working_in(data: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Not waited for yet: once its command line is empty it is a zombie that still answers signal 0.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while standing(child.id(), Path::new("/nonexistent")) != Standing::Gone {
            assert!(std::time::Instant::now() < deadline, "the child never ended");
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        assert!(rustix::process::test_kill_process(pid).is_ok(), "still answers signal 0");
        child.wait().unwrap();
    }

    #[test]
    fn a_number_given_out_again_is_a_stranger() {
        assert_eq!(standing(std::process::id(), Path::new("/nonexistent")), Standing::Stranger);
    }
}
