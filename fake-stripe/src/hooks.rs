//! Webhooks: every event signed as Stripe signs it and sent, with whatever disorder the knobs ask for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use stripe_shared::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::books::shown;
use crate::knobs::Webhooks;
use crate::server::Shared;

/// How long the receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The header Stripe signs with.
pub const HEADER: &str = "stripe-signature";

/// `t=…,v1=…`: the hex HMAC-SHA256 of the time, a point and the body.
#[must_use]
pub fn sign(body: &str, secret: &str, unix_seconds: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{unix_seconds}.{body}").as_bytes());
    format!("t={unix_seconds},v1={}", hex::encode(tag))
}

/// Sends what comes, each event on its own; returns, and drops what is under way, when nothing can come any more.
pub(crate) async fn send_all(shared: Arc<Shared>, mut events: mpsc::UnboundedReceiver<Event>) {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut sending = JoinSet::new();
    while let Some(event) = events.recv().await {
        while sending.try_join_next().is_some() {}
        let knobs = shared.knobs.lock().webhooks.clone();
        let Some(url) = knobs.url.clone() else { continue };
        if shared.chance(knobs.lose_permille) {
            continue;
        }
        let body = shown(&event).to_string();
        for _ in 0..=knobs.duplicates {
            let wait = knobs.delay_ms + shared.draw(knobs.jitter_ms + 1);
            let job = Delivery { url: url.clone(), body: body.clone(), knobs: knobs.clone(), wait };
            sending.spawn(deliver(Arc::clone(&shared), client.clone(), job));
        }
    }
}

struct Delivery {
    url: String,
    body: String,
    knobs: Webhooks,
    wait: u64,
}

/// Sends one event until it is taken or was sent often enough.
async fn deliver(shared: Arc<Shared>, client: Client<HttpConnector, Full<Bytes>>, job: Delivery) {
    tokio::time::sleep(Duration::from_millis(job.wait)).await;
    for attempt in 0..job.knobs.attempts {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(job.knobs.retry_ms)).await;
        }
        let is_missigned = attempt == 0 && shared.chance(job.knobs.missign_permille);
        let secret = if is_missigned { "whsec_wrong" } else { job.knobs.secret.as_str() };
        let signature = sign(&job.body, secret, shared.env.now().unix_seconds());
        let request = http::Request::post(&job.url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(HEADER, signature)
            .body(Full::new(Bytes::from(job.body.clone())));
        let Ok(request) = request else { return };
        match tokio::time::timeout(PATIENCE, client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => return,
            Ok(Ok(answer)) => tracing::info!(status = answer.status().as_u16(), "a webhook was not taken"),
            Ok(Err(error)) => tracing::info!(%error, "a webhook could not be sent"),
            Err(_) => tracing::info!("a webhook was not answered"),
        }
    }
}
