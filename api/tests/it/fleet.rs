//! The load generator's fleets: several nodes in one process, dialling in or called at their addresses.

use futures_util::future::join_all;
use loadtest::engine::ModelSpec;
use loadtest::fleet::{self, Plan};
use node::engine::{Faults, Latency};
use protocol::Env;
use serde_json::json;

use crate::live::{Live, MODEL, Setup, finish};

const NODES: u32 = 3;

fn plan(live: &Live, direct: bool) -> Plan {
    let latency = Latency { ttft_ms: 5.0, tpot_ms: 10.0, ..Latency::default() };
    Plan {
        broker: format!("http://{}", live.address).parse().unwrap(),
        nodes_per_model: NODES,
        models: vec![ModelSpec { name: MODEL.to_owned(), latency }],
        slots: 4,
        tunnels: 1,
        direct,
        prompt_usd_per_million: "1".to_owned(),
        completion_usd_per_million: "10".to_owned(),
        faults: Faults::default(),
    }
}

/// Every node joins, every node is given work, every answer is whole, and the books know all of it.
async fn joins_and_serves(direct: bool) {
    let live = Setup::nodes(0).start().await;
    let fleet = fleet::start(&plan(&live, direct), &Env::system()).await.unwrap();
    assert_eq!(fleet.members().len(), NODES as usize);
    live.until_taking(NODES as usize).await;
    let probes: Vec<u64> = fleet.members().iter().map(|member| member.engine.calls()).collect();
    let told = join_all((0..12).map(|_| live.told(json!({ "max_tokens": 20 })))).await;
    assert!(told.iter().all(|(_, frames)| finish(frames) == ["length"]));
    let served = fleet.members().iter().zip(probes).map(|(member, probes)| member.engine.calls() - probes);
    let served: Vec<u64> = served.collect();
    assert_eq!(served.iter().sum::<u64>(), 12, "{served:?}");
    // Twelve at once are all the slots there are.
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    assert!(fleet.members().iter().all(|member| member.engine.peak() <= 4));
    live.books_add_up().await;
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_dials_in_shares_the_load() {
    joins_and_serves(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_is_called_at_its_addresses_shares_the_load() {
    joins_and_serves(true).await;
}
