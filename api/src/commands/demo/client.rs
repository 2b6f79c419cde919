//! A customer: one streamed call over plain HTTP, printed as it comes.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::commands::Error;
use crate::dialect::EventScanner;

/// What came back.
pub(super) struct Asked {
    /// `chatcmpl-…`.
    pub id: String,
    /// To the first visible text.
    pub first_token: Duration,
    /// To the end.
    pub total: Duration,
}

/// Streams one chat completion to the terminal.
pub(super) async fn ask(url: &str, key: &str, model: &str, prompt: &str) -> Result<Asked, Error> {
    println!("\n> {prompt}\n");
    let body = json!({
        "model": model, "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 128,
        "messages": [{"role": "user", "content": prompt}],
    });
    let request = Request::post(format!("{url}/v1/chat/completions"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| Error::Usage(error.to_string()))?;
    let started = Instant::now();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response =
        client.request(request).await.map_err(|error| Error::Usage(format!("calling the gateway: {error}")))?;
    let status = response.status();
    let mut body = response.into_body();
    if status != StatusCode::OK {
        let text = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(Error::Usage(format!("the gateway answered {status}: {}", String::from_utf8_lossy(&text))));
    }
    let mut scanner = EventScanner::new();
    let mut asked = Asked { id: String::new(), first_token: Duration::ZERO, total: Duration::ZERO };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Usage(format!("the stream broke: {error}")))?;
        scanner.push(frame.into_data().unwrap_or_default());
        while let Some(event) = scanner.next_event().map_err(|error| Error::Usage(error.to_string()))? {
            print_event(&event, started, &mut asked)?;
        }
    }
    println!();
    asked.total = started.elapsed();
    Ok(asked)
}

fn print_event(event: &[u8], started: Instant, asked: &mut Asked) -> Result<(), Error> {
    let Ok(chunk) = serde_json::from_slice::<Value>(event) else { return Ok(()) };
    if let Some(error) = chunk.get("error") {
        return Err(Error::Usage(format!("the stream ended in an error: {error}")));
    }
    if let Some(id) = chunk["id"].as_str() {
        id.clone_into(&mut asked.id);
    }
    let text = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    if !text.is_empty() {
        if asked.first_token.is_zero() {
            asked.first_token = started.elapsed();
        }
        print!("{text}");
        std::io::stdout().flush().map_err(Error::io("writing to the terminal"))?;
    }
    Ok(())
}
