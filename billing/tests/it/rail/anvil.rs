//! A chain of one test's own, and somebody between who says otherwise.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// An anvil, which ends with it.
pub struct Anvil {
    child: Child,
    pub url: String,
}

impl Anvil {
    /// Starts one whose blocks are final when two follow. Without the program there is none, and that is said.
    ///
    /// # Panics
    /// When there is a program and it does not run; without one, where tests may not be skipped.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "there is no anvil: scripts/setup-contracts.sh installs one");
            eprintln!("skipped: there is no anvil; scripts/setup-contracts.sh installs one, ANVIL_BIN names it");
            return None;
        };
        let mut child = Command::new(program)
            .args(["--port", "0", "--slots-in-an-epoch", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is ours")).lines();
        let listening =
            lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned));
        let address = listening.expect("anvil says where it listens");
        // Nobody reads the rest, and a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: format!("http://{address}") })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<String> {
    let named = std::env::var("ANVIL_BIN").ok();
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/node_modules/.foundry/anvil").to_owned();
    let runs = |program: &String| {
        Path::new(program).exists()
            || Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    named.into_iter().chain([installed, "anvil".to_owned()]).find(runs)
}

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
