//! What lies between a node and the broker, so that a test can pull it out.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

type Wires = Arc<Mutex<Vec<AbortOnDropHandle<()>>>>;

/// A TCP relay that knows which of its connections are tunnels.
pub struct Cable {
    /// Where nodes dial.
    pub address: SocketAddr,
    tunnels: Wires,
    _accepting: AbortOnDropHandle<()>,
}

impl Cable {
    /// Relays to `broker`.
    pub async fn to(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tunnels = Wires::default();
        let accepting = tokio::spawn(accept(listener, broker, Arc::clone(&tunnels)));
        Self { address, tunnels, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Breaks the oldest tunnel that still stands.
    pub fn cut_one(&self) {
        drop(self.tunnels.lock().remove(0));
    }
}

async fn accept(listener: TcpListener, broker: SocketAddr, tunnels: Wires) {
    // Whatever is no tunnel lives as long as the cable.
    let mut others = Vec::new();
    while let Ok((mut node, _)) = listener.accept().await {
        let mut head = vec![0; 4_096];
        let Ok(read) = node.read(&mut head).await else { continue };
        let is_tunnel = head.windows(8).any(|part| part == b"/tunnel ");
        let wire = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut broker = TcpStream::connect(broker).await.unwrap();
            node.set_nodelay(true).unwrap();
            broker.set_nodelay(true).unwrap();
            broker.write_all(&head[..read]).await.unwrap();
            let _ = copy_bidirectional(&mut node, &mut broker).await;
        }));
        if is_tunnel { tunnels.lock().push(wire) } else { others.push(wire) }
    }
}
