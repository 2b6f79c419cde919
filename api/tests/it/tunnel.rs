//! Tunnels under stress: readers that stop, callers that all leave at once, nodes and brokers that vanish.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use node::engine::Latency;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::live::{Cable, Frame, Live, PATIENCE, Setup, chat_body, content, finish, until};

/// Tokens of an answer that no buffer between engine and client can hold.
const ENDLESS: u32 = 30_000;

/// Asks for a stream and reads none of it.
async fn stop_reading(live: &Live) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(live.address).await.unwrap();
    let body = chat_body(json!({ "stream": true, "max_tokens": ENDLESS })).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        live.key,
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// One tunnel and answers as fast as they can be carried.
fn rushing() -> Setup {
    let setup = Setup { tunnels: 1, slots: 128, usd: "500.00", ..Setup::default() };
    setup.with(|config| config.server.client_stall_timeout_ms = 60_000).pace(ENDLESS, 0.0)
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_disturb_fifty_others() {
    let live = rushing().start().await;
    let idle = stop_reading(&live).await;
    until("the idle reader's stream runs", PATIENCE, async || live.active() == 1).await;
    let others = join_all((0..50).map(|_| live.told(json!({ "max_tokens": 100 }))));
    let told = tokio::time::timeout(PATIENCE, others).await.expect("nobody waits for the idle reader");
    for (_, frames) in &told {
        assert_eq!((finish(frames), frames.last().is_some_and(Frame::is_done)), (vec!["length".to_owned()], true));
        assert_eq!(frames.iter().filter(|frame| !frame.delta().is_empty()).count(), 100);
    }
    assert_eq!(live.active(), 1, "the idle reader's stream is still there");
    assert_eq!(live.nodes[0].handle.status().tunnels, 1);
    drop(idle);
    live.until_idle(Duration::from_secs(1)).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_frees_its_engine() {
    let setup = rushing().with(|config| config.server.client_stall_timeout_ms = 300);
    let live = setup.start().await;
    let idle = stop_reading(&live).await;
    until("the idle reader's stream runs", PATIENCE, async || live.active() == 1).await;
    live.until_idle(Duration::from_secs(3)).await;
    drop(idle);
    live.books_add_up().await;
}

/// The only node's requests in flight, as the gateway counts them.
fn in_flight(live: &Live) -> u32 {
    live.app.scheduler.snapshot().offers().map(|offer| offer.node.in_flight()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_cancellations_during_a_stall_leave_the_tunnel_standing() {
    let setup = || {
        let setup = Setup { nodes: 0, tunnels: 1, slots: 256, usd: "500.00", ..Setup::default() };
        setup.with(|config| config.scheduler.tunnel_start = 256).pace(2_000, 2.0)
    };
    let mut live = setup().start().await;
    let cable = Cable::to(live.address).await;
    live.launch(1, &setup(), cable.address).await;
    live.until_ready(&setup()).await;
    let node = live.nodes[0].handle.status().node.unwrap();
    // It rides on the same tunnel all the while: were that replaced, this stream would break.
    let mut witness = live.chat(json!({ "stream": true, "max_tokens": 1_900 })).await;
    witness.until_text().await;
    until("the probe and all else is over", PATIENCE, async || in_flight(&live) == 1).await;

    // The node stops reading. Two hundred requests are sent to it, and every caller leaves.
    cable.hold(true);
    let calls = join_all((0..200).map(|_| live.chat(json!({ "stream": true }))));
    let sent = async {
        until("all of them are sent", PATIENCE, async || in_flight(&live) == 201).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        _ = calls => panic!("nobody can have been answered"),
        () = sent => {}
    }
    until("all of them have left", PATIENCE, async || in_flight(&live) == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // It reads on, and finds each request with its end right behind it.
    cable.hold(false);

    let (_, frames) = live.told(json!({ "max_tokens": 4 })).await;
    assert_eq!(finish(&frames), ["length"]);
    assert_eq!(finish(&witness.frames().await), ["length"]);
    assert_eq!(live.app.upstreams.tunnels(node), 1);
    live.until_idle(PATIENCE).await;
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_had_no_byte_yet_is_answered_elsewhere_when_its_tunnel_breaks() {
    let setup = || {
        let setup = Setup { nodes: 0, tunnels: 1, ..Setup::default() }.pace(100, 10.0);
        Setup { latency: Latency { ttft_ms: 700.0, ..setup.latency }, ..setup }
    };
    let mut live = setup().start().await;
    let cable = Cable::to(live.address).await;
    live.launch(1, &setup(), cable.address).await;
    live.launch(2, &setup(), live.address).await;
    live.until_ready(&setup()).await;
    let there = |stream: bool| json!({ "stream": stream, "provider": { "order": ["provider-1"] } });
    let mut begun = live.chat(there(true)).await;
    begun.until_text().await;
    let waiting = join_all((0..6).map(|n| {
        let mut fields = there(true);
        fields["max_tokens"] = (10 + n).into();
        let sent = live.chat(fields);
        async {
            let wire = sent.await;
            (wire.status, wire.frames().await)
        }
    }));
    let cut = async {
        until("all are sent", PATIENCE, async || in_flight(&live) == 7).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        cable.cut_one();
    };
    let (told, ()) = tokio::join!(waiting, cut);
    for (n, (status, frames)) in told.iter().enumerate() {
        assert_eq!((status.as_u16(), finish(frames)), (200, vec!["length".to_owned()]));
        assert_eq!(frames.iter().filter(|frame| !frame.delta().is_empty()).count(), 10 + n);
    }
    assert_eq!(finish(&begun.frames().await), ["error"], "nothing of an answer is said twice");
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_only_websockets_pass_the_tunnels_are_inside_them() {
    let setup = || Setup { nodes: 0, ..Setup::default() }.pace(400, 1.0);
    let mut live = setup().start().await;
    let cable = Cable::picky(live.address).await;
    live.launch(1, &setup(), cable.address).await;
    live.until_ready(&setup()).await;
    let node = live.nodes[0].handle.status().node.unwrap();
    assert_eq!(live.app.upstreams.tunnels(node), 2);
    let all = join_all((0..10).map(|_| live.told(json!({})))).await;
    for (_, frames) in &all {
        assert_eq!(frames.iter().filter(|frame| !frame.delta().is_empty()).count(), 400);
    }
    // A caller that leaves is felt at the other end as well.
    let mut leaving = live.chat(json!({ "stream": true })).await;
    leaving.until_text().await;
    drop(leaving);
    live.until_idle(Duration::from_secs(1)).await;
    // A tunnel that breaks is dialled again, the same way.
    cable.cut_one();
    until("the node dials again", PATIENCE, async || live.app.upstreams.tunnels(node) == 2).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn a_node_that_vanishes_is_noticed_and_others_go_on() {
    let live = Setup::nodes(2).pace(200, 5.0).start().await;
    let node = live.nodes[0].handle.status().node.unwrap();
    let lost = Instant::now();
    live.nodes[0].handle.kill();
    until("the tunnels are gone", Duration::from_secs(2), async || live.app.upstreams.tunnels(node) == 0).await;
    assert!(lost.elapsed() < Duration::from_secs(2));
    let all =
        join_all((0..10).map(|_| live.told(json!({ "max_tokens": 8, "provider": { "order": ["provider-1"] } })))).await;
    assert!(all.iter().all(|(_, frames)| finish(frames) == ["length"]));
    live.books_add_up().await;
}

#[tokio::test]
async fn a_node_serves_again_under_its_name_when_the_broker_is_back() {
    let mut live = Live::start().await;
    let before = live.nodes[0].handle.status();
    let (_, frames) = live.told(json!({})).await;
    let answer = content(&frames, 0);
    live.restart().await;
    let served = async || live.chat(json!({})).await.reply().await.status == 200;
    until("the node serves again", PATIENCE, served).await;
    let (_, frames) = live.told(json!({})).await;
    assert_eq!(content(&frames, 0), answer);
    let after = live.nodes[0].handle.status();
    assert_eq!((before.node, before.offers), (after.node, after.offers));
    live.books_add_up().await;
}

#[tokio::test]
async fn a_broker_that_stops_does_not_wait_for_its_tunnels() {
    let mut live = Live::start().await;
    let address: SocketAddr = live.address;
    let began = Instant::now();
    live.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "stopping took {:?}", began.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_never_runs_more_than_its_slots() {
    let live = Setup { slots: 3, ..Setup::default() }.pace(10, 5.0).start().await;
    let all = (0..24).map(|_| async { live.chat(json!({})).await.reply().await });
    let replies = join_all(all).await;
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    let refused = replies.iter().filter(|reply| reply.status == 429).count();
    assert_eq!(served + refused, 24);
    // Who finds no credit waits for one; the whole burst takes half a second.
    assert!(served >= 20, "only {served} of 24 were served");
    assert!(live.nodes[0].engine.peak() <= 3, "{} ran at once", live.nodes[0].engine.peak());
    assert!(live.nodes[0].engine.peak() >= 2);
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tunnel_that_breaks_takes_only_its_own_streams_with_it() {
    let setup = || Setup { slots: 12, nodes: 0, ..Setup::default() }.pace(60, 10.0);
    let mut live = setup().start().await;
    let cable = Cable::to(live.address).await;
    live.launch(1, &setup(), cable.address).await;
    live.until_ready(&setup()).await;
    let node = live.nodes[0].handle.status().node.unwrap();
    let mut streams = join_all((0..10).map(|_| live.chat(json!({ "stream": true })))).await;
    join_all(streams.iter_mut().map(|stream| stream.until_text())).await;
    cable.cut_one();
    let ends = join_all(streams.into_iter().map(|stream| stream.frames())).await;
    let ended = |reason: &str| ends.iter().filter(|frames| finish(frames) == [reason]).count();
    assert_eq!(ended("error") + ended("stop"), 10);
    assert!(ended("error") >= 4 && ended("stop") >= 4, "about half of the streams were on either tunnel");
    assert!(ends.iter().all(|frames| frames.last().is_some_and(Frame::is_done)));
    until("the node dials again", PATIENCE, async || live.app.upstreams.tunnels(node) == 2).await;

    // The control stream may have been on that tunnel: no credit is lost, none is minted.
    let replies = join_all((0..30).map(|_| async { live.chat(json!({ "max_tokens": 4 })).await.reply().await })).await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{:?}",
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    );
    assert!(live.nodes[0].engine.peak() <= 12);
    live.books_add_up().await;
}
