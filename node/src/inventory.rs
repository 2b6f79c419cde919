//! What this machine is made of, as far as it can be told without asking anybody.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use protocol::offer::{Gpu, Hardware};
use protocol::session::GpuLoad;
use tokio::process::Command;

/// A driver that hangs must not hang the node.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Cores, memory, disk and GPUs of this machine.
pub async fn hardware() -> Hardware {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let (gpus, driver) = gpus(&query("--query-gpu=name,memory.total,driver_version").await.unwrap_or_default());
    Hardware {
        gpus,
        cpu_cores: cores,
        ram_mib: ram_mib(),
        disk_gib: free_disk_gib("/").unwrap_or(0),
        net_mbps: 0,
        driver,
    }
}

/// Free space of the file system that holds `path`.
#[must_use]
pub fn free_disk_gib(path: impl AsRef<std::path::Path>) -> Option<u64> {
    let stat = rustix::fs::statvfs(path.as_ref()).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) >> 30)
}

fn ram_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// What NVIDIA's tool says, one card a line; `None` where there is none, or where it hangs.
pub async fn query(what: &str) -> Option<String> {
    ask(Path::new("nvidia-smi"), what, QUERY_TIMEOUT).await
}

async fn ask(tool: &Path, what: &str, limit: Duration) -> Option<String> {
    let mut command = Command::new(tool);
    command.args([what, "--format=csv,noheader,nounits"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line a card: name, memory in MiB, driver.
fn gpus(text: &str) -> (Vec<Gpu>, Option<String>) {
    let mut gpus: Vec<Gpu> = Vec::new();
    let mut driver = None;
    for line in text.lines() {
        let mut fields = line.split(',').map(str::trim);
        let (Some(model), Some(memory)) = (fields.next(), fields.next().and_then(|mib| mib.parse().ok())) else {
            continue;
        };
        driver = fields.next().map(str::to_owned).or(driver);
        match gpus.iter_mut().find(|gpu| gpu.model == model && gpu.memory_mib == memory) {
            Some(same) => same.count += 1,
            None => gpus.push(Gpu {
                vendor: "nvidia".into(),
                model: model.to_owned(),
                count: 1,
                memory_mib: memory,
                interface: None,
            }),
        }
    }
    (gpus, driver)
}

/// How busy the GPUs are; empty when there are none or `look` is false.
pub(crate) async fn gpu_loads(look: bool) -> Vec<GpuLoad> {
    if !look {
        return Vec::new();
    }
    let told = query("--query-gpu=memory.used,utilization.gpu,temperature.gpu").await;
    told.map_or_else(Vec::new, |text| loads(&text))
}

fn loads(text: &str) -> Vec<GpuLoad> {
    let load = |line: &str| {
        let mut fields = line.split(',').map(|field| field.trim().parse::<f64>().ok());
        let (used, util) = (fields.next()??, fields.next()??);
        Some(GpuLoad { used_mib: used as u64, util: util / 100.0, temp_c: fields.next().flatten() })
    };
    text.lines().filter_map(load).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_cards_are_counted_together() {
        let (cards, driver) = gpus("NVIDIA H200, 143771, 570.1\nNVIDIA H200, 143771, 570.1\nOther, 1024, 570.1\n");
        let counted: Vec<_> = cards.iter().map(|gpu| (gpu.model.as_str(), gpu.count)).collect();
        assert_eq!(counted, [("NVIDIA H200", 2), ("Other", 1)]);
        assert_eq!(driver.as_deref(), Some("570.1"));
    }

    #[tokio::test]
    async fn a_driver_that_hangs_does_not_hang_the_node() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("nvidia-smi");
        std::fs::write(&tool, "#!/bin/sh\n[ \"$1\" = hang ] && exec sleep 600\necho 'Card, 1024, 570.1'\n").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(ask(&tool, "hang", Duration::from_millis(100)).await, None);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(ask(&tool, "answer", Duration::from_secs(10)).await.as_deref(), Some("Card, 1024, 570.1\n"));
    }

    #[test]
    fn loads_are_read_and_nonsense_is_skipped() {
        let read = loads("1024, 50, 61\n[N/A], x, y\n");
        assert_eq!(read, [GpuLoad { used_mib: 1_024, util: 0.5, temp_c: Some(61.0) }]);
    }
}
