//! The demo of payouts, told to its end.

use std::path::Path;
use std::time::Duration;

use super::spawn::{Process, folder, steelyard, until};

/// Fifty providers and three epochs, on a busy machine.
const TOLD: Duration = Duration::from_secs(120);

/// The local chain's program, where there is one.
fn anvil() -> Option<String> {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/node_modules/.foundry/anvil").to_owned();
    std::env::var("ANVIL_BIN").ok().into_iter().chain([installed]).find(|program| Path::new(program).exists())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_pays_fifty_providers_and_ledger_contract_and_manifest_agree() {
    let Some(anvil) = anvil() else {
        assert!(std::env::var_os("CI").is_none(), "there is no anvil: scripts/setup-contracts.sh installs one");
        eprintln!("skipped: there is no anvil; scripts/setup-contracts.sh installs one, ANVIL_BIN names it");
        return;
    };
    let dir = folder();
    let mut command = steelyard();
    command.args(["demo", "--chain", "anvil", "--dir"]).arg(dir.path()).env("ANVIL_BIN", anvil);
    let demo = Process::spawn(command, &dir.path().join("demo.log"));
    until("the story is told", TOLD, async || demo.said().contains("gas:").then_some(())).await;
    let said = demo.said();
    assert_eq!(said.matches("agree to the base unit").count(), 3, "{said}");
    assert_eq!(said.matches("not paid: [13]").count(), 2, "{said}");
    assert_eq!(said.matches("not paid: nobody").count(), 1, "{said}");
    assert!(said.contains("epoch 3, owes 371250000 in all, has paid 371250000, holds 628750000"), "{said}");
}
