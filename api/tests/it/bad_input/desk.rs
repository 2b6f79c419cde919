//! A customer with money and what it is refused.

use api::router::router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::TestApp;

pub const CHAT: &str = "/v1/chat/completions";

/// A customer with money, so that only the request can be at fault.
pub struct Desk {
    pub test: TestApp,
    pub key: String,
    pub organization: String,
}

/// A refusal, in the one shape they have.
pub struct Refused {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub error: Value,
}

impl Desk {
    /// One whose bodies are short.
    pub async fn open() -> Self {
        let test = TestApp::start_with(|config| config.gateway.max_body_bytes = 64 * 1024).await;
        let (organization, key) = test.customer().await;
        test.admin(&["grant", "--org", &organization, "--usd", "5.00", "--expires-days", "30"]).await;
        test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
        Self { test, key, organization }
    }

    pub async fn send(&self, request: Request<Body>) -> Refused {
        Refused::read(router(self.test.app.clone()).oneshot(request).await.unwrap()).await
    }

    pub async fn post(&self, body: impl Into<Body>) -> Refused {
        let request = Request::post(CHAT).header("authorization", format!("Bearer {}", self.key));
        self.send(request.header("content-type", "application/json").body(body.into()).unwrap()).await
    }

    pub async fn nothing_was_charged(&self) {
        let rows = sqlx::query_scalar!(r#"select count(*) as "count!" from usage"#);
        assert_eq!(rows.fetch_one(&self.test.app.db).await.unwrap(), 0);
        let credits = self.test.get("/v1/credits").bearer(&self.key).send().await;
        assert_eq!(credits.json, json!({ "data": { "total_credits": "5.00", "total_usage": "0.00" } }));
        let shown = self.test.admin(&["org", "show", &self.organization]).await;
        assert_eq!(shown["total_credits_usd"], "5.00");
        assert!(billing::reconcile::reconcile(&self.test.app.db).await.unwrap().is_green());
    }
}

impl Refused {
    pub async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"));
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["error"], "{body}");
        let refused = Refused { status: parts.status, headers: parts.headers, error: body["error"].clone() };
        refused.is_in_shape();
        refused
    }

    /// The one shape of errors, and the headers every answer has.
    fn is_in_shape(&self) {
        let error = self.error.as_object().unwrap();
        for key in ["message", "type", "param", "code"] {
            assert!(error.contains_key(key), "{key} is missing: {error:?}");
        }
        assert!(error["message"].as_str().is_some_and(|words| !words.is_empty()), "{error:?}");
        assert!(error["type"].is_string(), "{error:?}");
        for key in error.keys() {
            assert!(["message", "type", "param", "code", "metadata", "availability"].contains(&key.as_str()), "{key}");
        }
        assert_eq!(self.header("content-type"), Some("application/json"));
        let id = self.header("x-request-id").unwrap();
        assert!(id.starts_with("req_") && id.len() == 36, "{id}");
        assert_eq!(self.header("openai-version"), Some("2020-10-01"));
        assert!(self.header("openai-processing-ms").unwrap().parse::<u64>().is_ok());
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn code(&self) -> Option<&str> {
        self.error["code"].as_str()
    }

    pub fn param(&self) -> Option<&str> {
        self.error["param"].as_str()
    }
}
