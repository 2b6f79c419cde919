//! A processor, Stripe's client pointed at it, and a browser without manners.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fake_stripe::{FakeStripe, Knobs};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use protocol::Env;
use protocol::time::{ManualClock, Timestamp};
use stripe::{Client, ClientBuilder, StripeError};
use stripe_checkout::checkout_session as session;
use stripe_core::event::ListEvent;
use stripe_shared::{ApiErrors, CheckoutSession, Customer};

/// Where the clock starts: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600;

pub struct World {
    pub fake: FakeStripe,
    pub client: Client,
    pub clock: ManualClock,
}

/// What a page answered.
pub struct Page {
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
}

impl World {
    pub async fn new() -> Self {
        let (env, clock) = Env::manual(Timestamp::from_unix_seconds(START), 7);
        let fake = FakeStripe::start(([127, 0, 0, 1], 0).into(), env, Knobs::default()).await.unwrap();
        let client = ClientBuilder::new("sk_test_1").url(fake.url()).timeout(Duration::from_secs(10)).build().unwrap();
        Self { fake, client, clock }
    }

    /// Types of all events so far, oldest first.
    pub async fn told(&self) -> Vec<String> {
        let list = ListEvent::new().limit(100).send(&self.client).await.unwrap();
        list.data.iter().rev().map(|event| event.type_.as_str().to_owned()).collect()
    }

    pub async fn customer(&self) -> Customer {
        stripe_core::customer::CreateCustomer::new().email("a@example.com").send(&self.client).await.unwrap()
    }

    /// An open session over `cents` of this customer, which keeps the card.
    pub async fn session(&self, customer: &Customer, cents: i64) -> CheckoutSession {
        session_request(customer, cents).send(&self.client).await.unwrap()
    }
}

pub fn session_request(customer: &Customer, cents: i64) -> session::CreateCheckoutSession {
    let price = session::CreateCheckoutSessionLineItemsPriceData {
        unit_amount: Some(cents),
        ..session::CreateCheckoutSessionLineItemsPriceData::new(stripe_types::Currency::USD)
    };
    let line = session::CreateCheckoutSessionLineItems {
        price_data: Some(price),
        quantity: Some(1),
        ..session::CreateCheckoutSessionLineItems::new()
    };
    let metadata = HashMap::from([("topup_id".to_owned(), "t1".to_owned())]);
    let intent = session::CreateCheckoutSessionPaymentIntentData {
        metadata: Some(metadata.clone()),
        setup_future_usage: Some(session::CreateCheckoutSessionPaymentIntentDataSetupFutureUsage::OffSession),
        ..session::CreateCheckoutSessionPaymentIntentData::new()
    };
    session::CreateCheckoutSession::new()
        .mode(stripe_shared::CheckoutSessionMode::Payment)
        .customer(customer.id.as_str())
        .line_items(vec![line])
        .automatic_tax(session::CreateCheckoutSessionAutomaticTax::new(true))
        .invoice_creation(session::CreateCheckoutSessionInvoiceCreation::new(true))
        .payment_intent_data(intent)
        .metadata(metadata)
        .success_url("https://example.com/done?session={CHECKOUT_SESSION_ID}")
}

/// What Stripe's client made of a refusal: the status and the error.
pub fn refusal<T>(result: Result<T, StripeError>) -> (u16, Box<ApiErrors>) {
    match result {
        Err(StripeError::Stripe(error, status)) => (status, error),
        Err(other) => panic!("not an answer of Stripe's: {other}"),
        Ok(_) => panic!("it was taken"),
    }
}

pub async fn get(url: &str) -> Page {
    send(http::Request::get(url).body(Full::default()).unwrap()).await
}

/// Sends a form as a browser does.
pub async fn post(url: &str, form: &'static str) -> Page {
    send(http::Request::post(url).body(Full::from(form)).unwrap()).await
}

/// Sends JSON as an operator does.
pub async fn send_json(method: &str, url: &str, body: String) -> Page {
    let request = http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    send(request.body(Full::from(body)).unwrap()).await
}

async fn send(request: http::Request<Full<Bytes>>) -> Page {
    let answer = Http::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
    let status = answer.status().as_u16();
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    Page { status, location, body: answer.into_body().collect().await.unwrap().to_bytes() }
}
