//! The demo's card processor, a process of its own, and a purchase at its page.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::setup::Customer;
use super::{free_address, step};
use crate::commands::Error;
use crate::config::Config;

/// What the customer buys.
const AMOUNT_USD: &str = "10.00";
/// The card that pays.
const CARD: &str = "4242424242424242";
/// How long the processor may take to start, and the credit to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often either is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A running `fake-stripe`. It ends with this.
pub(super) struct Till {
    _child: Child,
    url: String,
}

impl Till {
    /// Starts one and points the broker at it; none where the operator named a processor of their own, or where the
    /// program was not built.
    pub(super) fn start(dir: &Path, config: &mut Config, secret: &str) -> Result<Option<Self>, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let program = program.with_file_name("fake-stripe");
        if config.stripe.secret_key.is_some() {
            return Ok(None);
        }
        if !program.exists() {
            step("no credit is bought by card: fake-stripe was not built beside this program");
            return Ok(None);
        }
        let address = free_address(SocketAddr::from(([127, 0, 0, 1], 12_111)))?;
        let path = dir.join("fake-stripe.log");
        let log = || File::options().create(true).append(true).open(&path);
        let child = Command::new(program)
            .arg("--listen")
            .arg(address.to_string())
            .arg("--webhook-secret")
            .arg(secret)
            .arg("--until-stdin-ends")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log().map_err(Error::io("opening the log of fake-stripe"))?)
            .stderr(log().map_err(Error::io("opening the log of fake-stripe"))?)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("starting fake-stripe"))?;
        let url = format!("http://{address}/");
        config.stripe.secret_key = Some("sk_test_demo".into());
        config.stripe.webhook_secret = Some(secret.into());
        config.stripe.api_base = Some(url.clone());
        config.stripe.return_url.clone_from(&url);
        Ok(Some(Self { _child: child, url }))
    }

    /// Buys credit as a customer does: a wish, a page, a card; then waits for the balance to move.
    pub(super) async fn buy(&self, broker: &str, customer: &Customer) -> Result<(), Error> {
        self.wait().await?;
        self.tell(broker).await?;
        step(&format!("buying {AMOUNT_USD} USD of credit with a test card, at the page of a fake Stripe"));
        let before = balance(broker, customer).await?;
        let wish = json!({ "amount_usd": AMOUNT_USD }).to_string();
        let key = Some(customer.management_key.as_str());
        let (status, made) = call(Method::POST, &format!("{broker}/v1/credits/topups"), key, wish).await?;
        let page = made["checkout_url"].as_str().ok_or_else(|| said("the broker", status, &made))?.to_owned();
        let (status, answer) = call(Method::POST, &page, None, format!("card={CARD}")).await?;
        if !status.is_redirection() {
            return Err(said("the page", status, &answer));
        }
        let paid = async {
            loop {
                let after = balance(broker, customer).await?;
                if after != before {
                    return Ok::<_, Error>(after);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let after = tokio::time::timeout(PATIENCE, paid).await;
        let after = after.map_err(|_| Error::Usage("the payment did not become credit".to_owned()))??;
        println!(
            "  the page             {page}\n  credit before        {before:>16} USD\n  credit after         {after:>16} USD"
        );
        Ok(())
    }

    /// Where webhooks go is known only now: the broker may have taken any free port.
    async fn tell(&self, broker: &str) -> Result<(), Error> {
        let url = format!("{}_fake/knobs", self.url);
        let (_, mut knobs) = call(Method::GET, &url, None, String::new()).await?;
        knobs["webhooks"]["url"] = json!(format!("{broker}/hooks/stripe"));
        let (status, answer) = call(Method::PUT, &url, None, knobs.to_string()).await?;
        if status.is_success() { Ok(()) } else { Err(said("fake-stripe", status, &answer)) }
    }

    async fn wait(&self) -> Result<(), Error> {
        let answers = async {
            while call(Method::GET, &format!("{}health", self.url), None, String::new()).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| Error::Usage("fake-stripe did not start; see fake-stripe.log".to_owned());
        tokio::time::timeout(PATIENCE, answers).await.map_err(late)
    }
}

/// Everything the customer was credited, in dollars.
async fn balance(broker: &str, customer: &Customer) -> Result<String, Error> {
    let (status, credits) =
        call(Method::GET, &format!("{broker}/v1/credits"), Some(&customer.key), String::new()).await?;
    let total = credits["data"]["total_credits"].as_str();
    total.map(str::to_owned).ok_or_else(|| said("the broker", status, &credits))
}

/// One call; a body that is no JSON is null.
async fn call(method: Method, url: &str, key: Option<&str>, body: String) -> Result<(StatusCode, Value), Error> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    if body.starts_with('{') {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| Error::Usage(error.to_string()))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| Error::Usage(format!("calling {url}: {error}")))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| Error::Usage(format!("reading {url}: {error}")))?;
    Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
}

fn said(who: &str, status: StatusCode, body: &Value) -> Error {
    Error::Usage(format!("{who} answered {status}: {body}"))
}
