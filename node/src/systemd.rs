//! A systemd unit for a node, printed for whoever wants one.

use std::path::Path;

/// The unit that runs `program` with the configuration at `config`.
#[must_use]
pub fn unit(program: &Path, config: &Path, drain_s: u64) -> String {
    // The drain, the last reports and the engine's own end must all fit before systemd loses patience.
    let patience_s = drain_s + 20;
    format!(
        "[Unit]\n\
         Description=Steelyard node\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart={} run --config {}\n\
         Restart=always\n\
         RestartSec=2\n\
         KillMode=mixed\n\
         TimeoutStopSec={patience_s}\n\
         NoNewPrivileges=true\n\
         ProtectSystem=full\n\
         PrivateTmp=true\n\
         LimitNOFILE=65536\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program.display(),
        config.display(),
    )
}
