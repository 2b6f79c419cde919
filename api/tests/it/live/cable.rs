//! What lies between a node and the broker, so that a test can pull it out, hold it up, or make it picky.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

type Wires = Arc<Mutex<Vec<AbortOnDropHandle<()>>>>;

/// A TCP relay that knows which of its connections are tunnels.
pub struct Cable {
    /// Where nodes dial.
    pub address: SocketAddr,
    tunnels: Wires,
    held: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Cable {
    /// Relays to `broker`.
    pub async fn to(broker: SocketAddr) -> Self {
        Self::start(broker, false).await
    }

    /// Relays to `broker`, and lets no upgrade pass but to a WebSocket.
    pub async fn picky(broker: SocketAddr) -> Self {
        Self::start(broker, true).await
    }

    async fn start(broker: SocketAddr, picky: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tunnels, held) = (Wires::default(), watch::Sender::new(false));
        let accepting = tokio::spawn(accept(listener, broker, picky, Arc::clone(&tunnels), held.subscribe()));
        Self { address, tunnels, held, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Breaks the oldest tunnel that still stands.
    pub fn cut_one(&self) {
        drop(self.tunnels.lock().remove(0));
    }

    /// While held, nodes read nothing of what the broker sends through their tunnels.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

async fn accept(listener: TcpListener, broker: SocketAddr, picky: bool, tunnels: Wires, held: watch::Receiver<bool>) {
    // Whatever is no tunnel lives as long as the cable.
    let mut others = Vec::new();
    while let Ok((mut node, _)) = listener.accept().await {
        let mut head = vec![0; 4_096];
        let Ok(read) = node.read(&mut head).await else { continue };
        head.truncate(read);
        let text = String::from_utf8_lossy(&head).to_lowercase();
        if picky && text.contains("\r\nupgrade: steelyard-h2\r\n") {
            let _ = node.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            continue;
        }
        let is_tunnel = text.contains("/tunnel ");
        let wire = AbortOnDropHandle::new(tokio::spawn(relay(node, broker, head, is_tunnel, held.clone())));
        if is_tunnel { tunnels.lock().push(wire) } else { others.push(wire) }
    }
}

async fn relay(
    mut node: TcpStream,
    broker: SocketAddr,
    head: Vec<u8>,
    is_tunnel: bool,
    mut held: watch::Receiver<bool>,
) {
    let mut broker = TcpStream::connect(broker).await.unwrap();
    node.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    broker.write_all(&head).await.unwrap();
    if !is_tunnel {
        let _ = copy_bidirectional(&mut node, &mut broker).await;
        return;
    }
    let ((mut from_node, mut to_node), (mut from_broker, mut to_broker)) = (node.split(), broker.split());
    let inwards = async {
        let mut piece = vec![0; 64 << 10];
        while held.wait_for(|held| !held).await.is_ok()
            && let Ok(read @ 1..) = from_broker.read(&mut piece).await
            // It may have been held up while nothing came.
            && held.wait_for(|held| !held).await.is_ok()
            && to_node.write_all(&piece[..read]).await.is_ok()
        {}
    };
    tokio::select! {
        _ = copy(&mut from_node, &mut to_broker) => {}
        () = inwards => {}
    }
}
