//! A node at a port of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use node::config::Direct;
use node::start;
use protocol::Env;
use serde_json::json;

use crate::broker::Broker;
use crate::join::{config, engine};

#[tokio::test]
async fn a_direct_node_answers_its_broker_only() {
    let broker = Broker::start().await;
    let listen = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let mut config = config(&broker);
    config.direct = Some(Direct {
        listen,
        base_url: format!("http://{listen}").parse().unwrap(),
        upstream_key: "the right key".into(),
    });
    let mut handle = start(config, Arc::new(engine(4, 4, 1.0)), Env::system());
    handle.ready(1).await.unwrap();
    assert!(broker.seen.lock().tunnels.is_empty());
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Full<Bytes>>();
        for (key, status) in [("the right key", 200), ("the wrong key", 401), ("", 401)] {
            let request = Request::post(format!("http://{listen}/v1/chat/completions"))
                .header("authorization", format!("Bearer {key}"))
                .header("content-type", "application/json")
                .body(Full::from(json!({"messages": [], "stream": true}).to_string()))
                .unwrap();
            let response = client.request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::from_u16(status).unwrap(), "{key:?}");
            let text = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(text.ends_with(b"data: [DONE]\n\n"), status == 200);
        }
    }
    handle.stop().await.unwrap();
}
