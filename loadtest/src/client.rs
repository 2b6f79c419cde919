//! A customer: HTTP/1.1 with keep-alive, no Nagle delay, and a stopwatch.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use protocol::header;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::Error;
pub use crate::answer::{Answer, Ended};
use crate::answer::{code_of, whole};
use crate::scenario::Ask;
use crate::sse::Scanner;

/// The longest a single answer may take before the run gives it up: the gateway's own limit is below.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(960);

/// A customer with one key and a bounded set of connections to one address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    host: HeaderValue,
    prefix: String,
    bearer: Option<HeaderValue>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    places: Semaphore,
    tasks: TaskTracker,
}

impl Client {
    /// A client for `base`, such as `http://127.0.0.1:8080`; paths are appended to it. Opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything but plain http to an address that resolves, or a key no header can carry.
    pub async fn connect(base: &Url, key: Option<&str>, connections: usize) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Invalid(format!("{base}: {reason}"));
        let (Some(host), "http") = (base.host_str(), base.scheme()) else {
            return Err(invalid("an http:// address; put a TLS terminator's plain side here"));
        };
        let port = base.port_or_known_default().unwrap_or(80);
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
        let address = found.ok().and_then(|mut all| all.next()).ok_or_else(|| invalid("does not resolve"))?;
        let bearer = key.map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        });
        Ok(Self {
            address,
            host: HeaderValue::try_from(format!("{host}:{port}")).map_err(|_| invalid("no usable host"))?,
            prefix: base.path().trim_end_matches('/').trim_end_matches("/v1").to_owned(),
            bearer: bearer.transpose().map_err(|_| Error::Invalid("the key holds bytes no header can".to_owned()))?,
            idle: Mutex::default(),
            places: Semaphore::new(connections),
            tasks: TaskTracker::new(),
        })
    }

    /// Sends one chat request and reads its answer to the end.
    pub async fn chat(&self, ask: &Ask, intended: Instant) -> Answer {
        let mut answer = Answer::begun();
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(ask, intended, &mut answer)).await;
        answer.ended = exchange
            .unwrap_or_else(|_| Err("no end after the longest time an answer may take".to_owned()))
            .unwrap_or_else(|reason| Ended::Broken { reason });
        answer.total = intended.elapsed();
        answer
    }

    async fn exchange(&self, ask: &Ask, intended: Instant, answer: &mut Answer) -> Result<Ended, String> {
        let _place = self.places.acquire().await.map_err(|_| "the client was closed".to_owned())?;
        let (mut sender, response) = self
            .send(
                || self.request(Method::POST, "/v1/chat/completions", ask.body.clone()),
                &mut answer.sent_after,
                intended,
            )
            .await?;
        let status = response.status();
        let streamed =
            response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
        if status == StatusCode::OK && ask.stream != streamed {
            return Err("the answer's content type is not what was asked for".to_owned());
        }
        if status == StatusCode::OK {
            // Names the generation even if not one byte of the body arrives.
            answer.id = response.headers().get(header::REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        }
        let ended = if status == StatusCode::OK && streamed {
            self.stream(response.into_body(), ask.leave_after, intended, answer).await?
        } else {
            let body = response.into_body().collect().await.map_err(broke)?.to_bytes();
            if status == StatusCode::OK {
                whole(&body, answer)?
            } else {
                Ended::Refused { status, code: code_of(&body) }
            }
        };
        // Only after a body read to its end can the connection carry another request.
        if ended != Ended::Left && sender.ready().await.is_ok() {
            self.idle().push(sender);
        }
        Ok(ended)
    }

    async fn stream(
        &self,
        mut body: Incoming,
        leave_after: Option<u32>,
        intended: Instant,
        answer: &mut Answer,
    ) -> Result<Ended, String> {
        let mut scanner = Scanner::default();
        let mut last: Option<Instant> = None;
        let outcome = loop {
            let Some(frame) = body.frame().await else { break Ok(()) };
            let data = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue,
                Err(error) => break Err(broke(error)),
            };
            let fresh = scanner.feed(&data);
            if fresh == 0 {
                continue;
            }
            let now = Instant::now();
            match last {
                Some(last) => answer.gaps_us.push(micros(now - last)),
                None => answer.first_after = Some(now - intended),
            }
            // Chunks that arrive in one piece are no distance apart: lumps show as zeros and one long gap.
            answer.gaps_us.extend(std::iter::repeat_n(0, fresh as usize - 1));
            last = Some(now);
            if leave_after.is_some_and(|most| scanner.seen().chunks >= most) {
                let seen = scanner.seen();
                (answer.id, answer.chunks) = (seen.id.clone().or(answer.id.take()), seen.chunks);
                return Ok(Ended::Left);
            }
        };
        let seen = scanner.finish();
        (answer.chunks, answer.cost) = (seen.chunks, seen.cost);
        answer.id = seen.id.or(answer.id.take());
        outcome?;
        match (seen.garbage, seen.done, seen.error, seen.finish_reason) {
            (Some(garbage), ..) => Err(garbage.to_owned()),
            // To a customer's program a bare close looks like a short answer that went well.
            (_, false, ..) => Err("the stream closed without [DONE]".to_owned()),
            (_, true, Some(code), _) => Ok(Ended::InBand { code }),
            (_, true, None, Some(finish_reason)) => Ok(Ended::Complete { finish_reason }),
            (_, true, None, None) => Err("[DONE] without a finish reason or an error".to_owned()),
        }
    }

    /// Reads `path`: status and body.
    ///
    /// # Errors
    /// [`Error::Call`] when no whole answer came.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let mut unused = Duration::ZERO;
        let request = || self.request(Method::GET, path, Bytes::new());
        let (mut sender, response) =
            self.send(request, &mut unused, Instant::now()).await.map_err(|reason| Error::call(path, reason))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| Error::call(path, error))?.to_bytes();
        if sender.ready().await.is_ok() {
            self.idle().push(sender);
        }
        Ok((status, body))
    }

    /// Sends on an idle connection, else on a new one. A request that an idle connection never took
    /// is sent again; one it may have taken is not.
    async fn send(
        &self,
        request: impl Fn() -> Result<Request<Full<Bytes>>, String>,
        sent_after: &mut Duration,
        intended: Instant,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), String> {
        loop {
            let kept = self.idle().pop();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.open().await?,
            };
            if sender.ready().await.is_err() && !fresh {
                continue;
            }
            *sent_after = intended.elapsed();
            match sender.try_send_request(request()?).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut error) => {
                    let taken = error.take_message().is_none();
                    if taken || fresh {
                        return Err(broke(error.into_error()));
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| format!("connecting: {}", error.kind()))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broke)?;
        // Ends with its sender, which this client owns. Its error reaches whoever waits on the sender.
        self.tasks.spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        // A list of connections is whole whatever its holder did before a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hyper's error without addresses or sizes, so that equal failures count as one kind.
fn broke(error: hyper::Error) -> String {
    if error.is_incomplete_message() { "the connection closed inside an answer".to_owned() } else { error.to_string() }
}

fn micros(gap: Duration) -> u32 {
    u32::try_from(gap.as_micros()).unwrap_or(u32::MAX)
}
