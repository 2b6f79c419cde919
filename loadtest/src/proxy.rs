//! The yardstick: a proxy that does nothing but pass HTTP through, on the same libraries as the broker.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{Error, serve};

/// What comes back: the upstream's own body, or one line of ours.
type Body = Either<Incoming, Full<Bytes>>;

/// Passes everything on `listener` through to `upstream` until `stop`. Bodies stream both ways; connections are kept
/// alive on both sides.
///
/// # Errors
/// [`Error::Invalid`] when `upstream` is not a plain http address.
pub async fn run(listener: TcpListener, upstream: &Url, stop: CancellationToken) -> Result<(), Error> {
    let invalid = || Error::Invalid(format!("{upstream}: the upstream is an http:// address"));
    let host = upstream.host_str().filter(|_| upstream.scheme() == "http").ok_or_else(invalid)?;
    let authority = format!("{host}:{}", upstream.port_or_known_default().unwrap_or(80));
    let host_header = HeaderValue::try_from(&authority).map_err(|_| invalid())?;

    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    let service = service_fn(move |request: Request<Incoming>| {
        let client = client.clone();
        let target = target(&authority, request.uri());
        let host = host_header.clone();
        async move { Ok::<_, Infallible>(forward(&client, target, host, request).await) }
    });
    serve::serve(listener, service, stop).await;
    Ok(())
}

fn target(authority: &str, uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("http://{authority}{path}").parse().ok()
}

async fn forward(
    client: &Client<HttpConnector, Incoming>,
    target: Option<Uri>,
    host: HeaderValue,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let Some(target) = target else { return refusal(StatusCode::BAD_REQUEST) };
    *request.uri_mut() = target;
    request.headers_mut().insert(HOST, host);
    // The client's wish for its own connection says nothing about ours.
    request.headers_mut().remove(CONNECTION);
    match client.request(request).await {
        Ok(mut response) => {
            response.headers_mut().remove(CONNECTION);
            response.map(Either::Left)
        }
        Err(_) => refusal(StatusCode::BAD_GATEWAY),
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from("the upstream can't be reached\n")));
    *response.status_mut() = status;
    response
}
