//! A broker with just enough of the provider API for a node to live by.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use protocol::challenge::{Challenge, Purpose};
use protocol::load::{NodeFrame, ReplicaFrame};
use protocol::offer::TrustLevel;
use protocol::receipt::SignedReport;
use protocol::session::*;
use protocol::typed::Domain;
use protocol::wallet::Address;
use protocol::{AttemptId, ChallengeId, Env, Id, NodeId, OfferId, ProviderId, RequestId, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

pub const PROVIDER_KEY: &str = "sk-prov-test";
/// Where this broker settles.
pub const DOMAIN: Domain = Domain { chain_id: 31_337, distributor: Address::from_bytes([0x5f; 20]) };

/// What the broker saw, shared with its tests.
#[derive(Default)]
pub struct Seen {
    pub node: Option<(NodeId, VerifyingKey)>,
    pub sessions: u32,
    pub beats: Vec<Heartbeat>,
    pub offers: Vec<OfferView>,
    pub etag: u32,
    pub reports: Vec<SignedReport>,
    pub receipt_key: Option<AnnounceReceiptKey>,
    pub refuse_reports: bool,
    pub forget_tokens: bool,
    pub commands: Vec<Command>,
    /// What the provider did with the node.
    pub removed: bool,
    /// What a challenge says besides the truth.
    pub twist: Option<fn(&mut Challenge)>,
    pub origin: String,
    /// Signatures that were sent.
    pub proofs: Vec<String>,
    pub tunnels: Vec<SendRequest<ChannelBody>>,
    /// What is answered about the provider's money, by the end of the path.
    pub purse: HashMap<&'static str, String>,
}

pub struct Broker {
    pub url: Url,
    pub provider: ProviderId,
    pub seen: Arc<Mutex<Seen>>,
    pub env: Env,
    task: tokio::task::JoinHandle<()>,
}

/// A request body fed by a channel.
pub struct ChannelBody(mpsc::UnboundedReceiver<Bytes>);

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body with `text` in it.
pub fn body(text: &str) -> ChannelBody {
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    ChannelBody(receiver)
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Arc::default()).await
    }

    /// At a given address, with what an earlier broker there saw: a restart.
    pub async fn start_at(at: SocketAddr, seen: Arc<Mutex<Seen>>) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        seen.lock().origin = url.origin().ascii_serialization();
        let (env, state) = (Env::system(), seen.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let state = state.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| handle(state.clone(), request));
                    let builder = http1::Builder::new();
                    let _ = builder.serve_connection(TokioIo::new(socket), service).with_upgrades().await;
                });
            }
        });
        Self { url, provider: ProviderId::from_uuid(fixed(1)), seen, env, task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.url.socket_addrs(|| None).unwrap()[0]
    }

    /// Stops at once, with every connection: what kill -9 looks like from outside.
    pub fn kill(self) -> (SocketAddr, Arc<Mutex<Seen>>) {
        self.task.abort();
        self.seen.lock().tunnels.clear();
        (self.addr(), self.seen.clone())
    }

    /// One of the tunnels that still works.
    pub fn tunnel(&self) -> SendRequest<ChannelBody> {
        let mut seen = self.seen.lock();
        seen.tunnels.retain(|tunnel| !tunnel.is_closed());
        seen.tunnels.last().expect("a tunnel is open").clone()
    }

    pub fn offer(&self) -> OfferId {
        self.seen.lock().offers[0].id
    }

    /// A chat request as a gateway dispatches it.
    pub fn chat(&self, chat: &Value) -> (AttemptId, Request<ChannelBody>) {
        let attempt = self.env.mint::<AttemptId>();
        let request = Request::post("http://node/v1/chat/completions")
            .header("content-type", "application/json")
            .header(header::GENERATION, self.env.mint::<RequestId>().to_string())
            .header(header::ATTEMPT, attempt.to_string())
            .header(header::OFFER, self.offer().to_string())
            .header(header::PRICE_VERSION, "1")
            .header(header::CREDITS, "1")
            .body(body(&chat.to_string()))
            .unwrap();
        (attempt, request)
    }

    /// The report of one attempt, checked against the key the node announced.
    pub fn report(&self, attempt: AttemptId) -> Option<SignedReport> {
        let seen = self.seen.lock();
        let signed = seen.reports.iter().find(|signed| signed.report.attempt == attempt)?.clone();
        assert_eq!(signed.signer(&DOMAIN).unwrap(), seen.receipt_key.unwrap().key, "the announced key signs");
        Some(signed)
    }

    /// Opens the control stream of a replica: a sender of frames, and the frames of the node.
    pub async fn control(&self, replica: &str) -> (mpsc::UnboundedSender<Bytes>, Frames) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let request = Request::post(format!("http://node{}", header::CONTROL_PATH))
            .header(header::REPLICA, replica)
            .body(ChannelBody(receiver))
            .unwrap();
        let response = self.tunnel().send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        (sender, Frames { body: response.into_body(), text: String::new() })
    }
}

/// Frames as a replica reads them.
pub struct Frames {
    body: Incoming,
    text: String,
}

impl Frames {
    pub async fn next(&mut self) -> NodeFrame {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let frame = serde_json::from_str(line).unwrap();
                self.text = rest.to_owned();
                return frame;
            }
            let data = self.body.frame().await.expect("the control stream goes on").unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Reads until a limit comes.
    pub async fn limit(&mut self) -> u64 {
        loop {
            if let NodeFrame::Limit { limit } = self.next().await {
                return limit;
            }
        }
    }
}

pub fn say(to: &mpsc::UnboundedSender<Bytes>, frame: &ReplicaFrame) {
    to.send(format!("{}\n", serde_json::to_string(frame).unwrap()).into()).unwrap();
}

fn fixed(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n)
}

fn answer(status: StatusCode, value: Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(value.to_string().into())
        .unwrap()
}

fn refusal(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    answer(status, json!({"error": {"message": "no", "type": "x", "param": null, "code": code}}))
}

async fn handle(state: Arc<Mutex<Seen>>, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let bearer = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    if last == "tunnel" {
        if !known(&state, &bearer) {
            return Ok(refusal(StatusCode::UNAUTHORIZED, "invalid_api_key"));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = upgrade.await.unwrap();
            let (sender, connection) =
                http2::Builder::new(TokioExecutor::new()).handshake::<_, ChannelBody>(upgraded).await.unwrap();
            state.lock().tunnels.push(sender);
            let _ = connection.await;
        });
        let switching = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", header::TUNNEL_UPGRADE);
        return Ok(switching.body(Full::default()).unwrap());
    }
    let is_next_page = request.uri().query().is_some_and(|query| query.contains("&page="));
    let if_match = request.headers().get("if-match").map(|etag| etag.to_str().unwrap().to_owned());
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(told) = state.lock().purse.get(if is_next_page { "next page" } else { &last }) {
        let is_public = last == "manifest";
        let refused = || refusal(StatusCode::UNAUTHORIZED, "invalid_api_key");
        let shown = is_public || bearer == format!("Bearer {PROVIDER_KEY}");
        // Byte for byte: documents are hashed.
        return Ok(if shown { Response::new(Bytes::from(told.clone()).into()) } else { refused() });
    }
    let open = ["nodes", "sessions", "providers", "verify", "live", "bandwidth"].contains(&last.as_str())
        || last.starts_with("node_");
    if !open && !known(&state, &bearer) {
        return Ok(refusal(StatusCode::UNAUTHORIZED, "invalid_api_key"));
    }
    Ok(call(&mut state.lock(), &method, &last, &bearer, if_match, value))
}

fn known(state: &Mutex<Seen>, bearer: &str) -> bool {
    let seen = state.lock();
    bearer == format!("Bearer token-{}", seen.sessions) && !seen.forget_tokens
}

fn call(
    seen: &mut Seen,
    method: &Method,
    last: &str,
    bearer: &str,
    if_match: Option<String>,
    value: Value,
) -> Response<Full<Bytes>> {
    let now_ms = Env::system().now().unix_ms();
    match (method.as_str(), last) {
        ("GET", "live") => answer(StatusCode::OK, json!({ "status": "ok" })),
        ("POST", "bandwidth") => Response::new(Bytes::from_static(&[0; 1 << 20]).into()),
        ("POST", "providers") => register(seen, &serde_json::from_value(value).unwrap()),
        ("POST", "verify") => {
            let proof: VerifyChallenge = serde_json::from_value(value).unwrap();
            seen.proofs.push(proof.signature);
            let provider = provider("active");
            answer(StatusCode::OK, json!(VerifiedProvider { provider, key: PROVIDER_KEY.into() }))
        }
        ("GET", node) if node.starts_with("node_") => match seen.node {
            Some((id, _)) => answer(StatusCode::OK, json!(node_view(id, NodeMode::Tunnel, seen.removed))),
            None => refusal(StatusCode::NOT_FOUND, "not_found"),
        },
        (_, last) if seen.removed && last != "nodes" => refusal(StatusCode::FORBIDDEN, "node_removed"),
        ("POST", "nodes") => {
            if bearer != format!("Bearer {PROVIDER_KEY}") {
                return refusal(StatusCode::UNAUTHORIZED, "invalid_api_key");
            }
            let body: CreateNode = serde_json::from_value(value).unwrap();
            let mut key = [0; 32];
            hex::decode_to_slice(&body.public_key, &mut key).unwrap();
            let id = NodeId::from_uuid(fixed(2));
            seen.node = Some((id, VerifyingKey::from_bytes(&key).unwrap()));
            seen.removed = false;
            answer(StatusCode::CREATED, json!(node_view(id, body.mode, false)))
        }
        ("POST", "sessions") => {
            let proof: OpenSession = serde_json::from_value(value).unwrap();
            let (node, key) = seen.node.unwrap();
            let mut signature = [0; 64];
            hex::decode_to_slice(&proof.signature, &mut signature).unwrap();
            let signed = session_challenge_bytes(node, &proof.nonce, proof.timestamp_ms);
            if key.verify(&signed, &Signature::from_bytes(&signature)).is_err() {
                return refusal(StatusCode::UNAUTHORIZED, "invalid_signature");
            }
            seen.sessions += 1;
            seen.forget_tokens = false;
            let token = SessionToken {
                token: format!("token-{}", seen.sessions),
                expires_at_ms: now_ms + 900_000,
                server_time_ms: now_ms,
            };
            answer(StatusCode::CREATED, json!(token))
        }
        ("POST", "receipt_keys") => {
            let announced: AnnounceReceiptKey = serde_json::from_value(value).unwrap();
            seen.receipt_key = Some(announced);
            let delegated = announced.delegation.is_some();
            answer(StatusCode::OK, json!(ReceiptKeyView { key: announced.key, delegated, domain: DOMAIN }))
        }
        ("GET", "offers") => offers(seen),
        ("PUT", "offers") => {
            if if_match != Some(format!("\"{}\"", seen.etag)) {
                return refusal(StatusCode::PRECONDITION_FAILED, "precondition_failed");
            }
            let body: PutOffers = serde_json::from_value(value).unwrap();
            seen.etag += 1;
            let view = |(n, spec): (usize, _)| OfferView {
                id: OfferId::from_uuid(fixed(10 + n as u128)),
                state: "active".into(),
                price_version: 1,
                spec,
            };
            let mut specs = body.offers;
            // As a broker lists them, in whatever order they came.
            specs.sort_by(|a, b| a.model.cmp(&b.model));
            seen.offers = specs.into_iter().enumerate().map(view).collect();
            offers(seen)
        }
        ("POST", "heartbeat") => {
            let beat: Heartbeat = serde_json::from_value(value).unwrap();
            seen.beats.push(beat);
            let reply = HeartbeatReply {
                server_time_ms: now_ms,
                next_in_ms: 100,
                commands: std::mem::take(&mut seen.commands),
            };
            answer(StatusCode::OK, json!(reply))
        }
        ("POST", "reports") => {
            if seen.refuse_reports {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
            }
            let body: PutReports = serde_json::from_value(value).unwrap();
            let mut known: HashMap<_, _> = seen.reports.drain(..).map(|s| (s.report.attempt, s)).collect();
            let accepted = body.reports.len() as u32;
            known.extend(body.reports.into_iter().map(|signed| (signed.report.attempt, signed)));
            seen.reports = known.into_values().collect();
            answer(StatusCode::OK, json!(ReportsReply { accepted, refused: Vec::new() }))
        }
        _ => refusal(StatusCode::NOT_FOUND, "not_found"),
    }
}

fn provider(state: &str) -> ProviderView {
    ProviderView {
        id: ProviderId::from_uuid(fixed(1)),
        object: "provider".into(),
        name: "Acme".into(),
        slug: "acme".into(),
        state: state.into(),
        created_at: 0,
    }
}

fn node_view(id: NodeId, mode: NodeMode, removed: bool) -> NodeView {
    NodeView {
        id,
        object: "node".into(),
        provider_id: ProviderId::from_uuid(fixed(1)),
        state: if removed { "removed" } else { "pending" }.into(),
        trust: TrustLevel::Declared,
        mode,
        created_at: 0,
        last_seen_at: None,
        tunnels: 0,
        checks: Vec::new(),
    }
}

fn register(seen: &Seen, body: &CreateProvider) -> Response<Full<Bytes>> {
    let now = Env::system().now();
    let mut challenge = Challenge {
        origin: seen.origin.clone(),
        wallet: body.receipt_address,
        purpose: Purpose::Register,
        chain_id: 8_453,
        nonce: "0123456789abcdef".into(),
        issued_at: now,
        expires_at: now,
        provider: ProviderId::from_uuid(fixed(1)),
        slug: body.slug.clone(),
        payout_account: body.payout_account.clone(),
        terms_version: body.terms_version.clone(),
    };
    if let Some(twist) = seen.twist {
        twist(&mut challenge);
    }
    let id = ChallengeId::from_uuid(fixed(3));
    let challenge = ChallengeView { id, message: challenge.to_string(), expires_at: 0 };
    answer(StatusCode::CREATED, json!(CreatedProvider { provider: provider("pending"), challenge }))
}

fn offers(seen: &Seen) -> Response<Full<Bytes>> {
    let view = OffersView { object: "list".into(), data: seen.offers.clone() };
    let mut response = answer(StatusCode::OK, json!(view));
    response.headers_mut().insert("etag", format!("\"{}\"", seen.etag).parse().unwrap());
    response
}
