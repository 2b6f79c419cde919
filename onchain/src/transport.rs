//! JSON-RPC over HTTP, with the client that brokers and nodes use for everything else.

use std::task::{Context, Poll};
use std::time::Duration;

use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The largest answer that is read: the logs of two thousand blocks with full batches stay below.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// One endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<bytes::Bytes>>,
    uri: Uri,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(uri: Uri, timeout: Duration) -> Self {
        // Named here, so that it does not matter which others are built in.
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("the provider speaks the versions of TLS that are built in")
            .https_or_http()
            .enable_http1()
            .build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector), uri, timeout }
    }

    async fn send(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = serde_json::to_vec(&packet).map_err(TransportError::ser_err)?;
        let request = Request::post(self.uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(TransportErrorKind::custom)?;
        let answer = self.client.request(request).await.map_err(TransportErrorKind::custom)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| TransportErrorKind::custom_str(&error.to_string()))?.to_bytes();
        // Some endpoints answer an error of the call with a status of their own.
        serde_json::from_slice(&body).map_err(|error| {
            if status.is_success() {
                TransportError::deser_err(error, String::from_utf8_lossy(&body))
            } else {
                TransportErrorKind::http_error(status.as_u16(), String::new())
            }
        })
    }
}

impl tower::Service<RequestPacket> for Http {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let (this, timeout) = (self.clone(), self.timeout);
        Box::pin(async move {
            let late = |_| TransportErrorKind::custom_str("no answer in time");
            tokio::time::timeout(timeout, this.send(packet)).await.map_err(late)?
        })
    }
}
