//! Somebody between the broker and its chain who says otherwise.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What becomes of a call.
pub enum Act {
    /// It goes through.
    Pass,
    /// It is answered so, and goes nowhere.
    Say(Value),
    /// It is answered as a contract that refuses would, without a reason.
    Refuse,
    /// It goes nowhere, and the connection breaks.
    Break,
}

type Judge = Box<dyn Fn(&str, &Value) -> Act + Send>;

/// An endpoint that passes calls on, unless it was told otherwise.
#[derive(Clone)]
pub struct Proxy {
    judge: Arc<Mutex<Judge>>,
    pub url: String,
}

impl Proxy {
    pub async fn start(to: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|_, _| Act::Pass)));
        let proxy = Self { judge, url };
        let (by, to) = (proxy.clone(), to.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (by, to) = (by.clone(), to.clone());
                let service = hyper::service::service_fn(move |request| by.clone().answer(to.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        proxy
    }

    /// From now on calls are judged so.
    pub fn judge(&self, judge: impl Fn(&str, &Value) -> Act + Send + 'static) {
        *self.judge.lock() = Box::new(judge);
    }

    /// From now on all calls go through.
    pub fn pass(&self) {
        self.judge(|_, _| Act::Pass);
    }

    async fn answer(
        self,
        to: String,
        request: Request<Incoming>,
    ) -> Result<Response<Full<bytes::Bytes>>, std::io::Error> {
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let call: Value = serde_json::from_slice(&body)?;
        let act = (self.judge.lock())(call["method"].as_str().unwrap_or_default(), &call["params"]);
        match act {
            Act::Break => Err(std::io::Error::other("broken on purpose")),
            Act::Refuse => {
                let error = json!({ "code": 3, "message": "execution reverted", "data": "0x" });
                let said = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error });
                Ok(Response::new(Full::new(said.to_string().into())))
            }
            Act::Say(result) => {
                let said = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result });
                Ok(Response::new(Full::new(said.to_string().into())))
            }
            Act::Pass => {
                let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
                let request = Request::post(to).header("content-type", "application/json").body(Full::new(body));
                let answer = client.request(request.map_err(std::io::Error::other)?).await;
                let answer = answer.map_err(std::io::Error::other)?.into_body().collect().await;
                Ok(Response::new(Full::new(answer.map_err(std::io::Error::other)?.to_bytes())))
            }
        }
    }
}
