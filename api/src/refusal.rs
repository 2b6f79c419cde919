//! What an engine means by refusing a request. Its words stay here; only that a prompt was too long is told on.

use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};

use crate::upstream::Answer;

/// Refusals are a sentence or two; of a longer one the rest is not needed.
const MOST_BYTES: usize = 16 * 1024;
/// A refusal comes at once with its status: who waits longer for it delays another attempt.
const WITHIN: Duration = Duration::from_millis(500);

/// What engines say of a prompt that does not fit: llama.cpp, vLLM and those that follow OpenAI, SGLang, TGI.
const TOO_LONG: [&str; 6] = [
    "exceed_context_size_error",
    "exceeds the available context size",
    "context_length_exceeded",
    "maximum context length",
    "longer than the model's context length",
    "`inputs` tokens + `max_new_tokens` must be <=",
];

/// Whether an answer's head refuses the request itself.
#[must_use]
pub fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)
}

/// Reads a refusal, and says whether it is for the prompt's length.
pub async fn read(answer: &mut Answer) -> bool {
    let body = Limited::new(answer.body(), MOST_BYTES).collect();
    match tokio::time::timeout(WITHIN, body).await {
        Ok(Ok(body)) => tells_too_long(&String::from_utf8_lossy(&body.to_bytes())),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Whether an engine's words are about a prompt that does not fit its context.
#[must_use]
pub fn tells_too_long(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    TOO_LONG.iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::tells_too_long;
    use crate::dialect::UpstreamError;

    #[test]
    fn engines_words_for_a_prompt_that_does_not_fit_are_known() {
        let too_long = [
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#,
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens. However, you requested 5010 tokens","type":"BadRequestError","param":null,"code":400}}"#,
            r#"{"object":"error","message":"The input (5000 tokens) is longer than the model's context length (4096 tokens).","type":"BadRequestError","code":400}"#,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.","error_type":"validation"}"#,
            r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
        ];
        for words in too_long {
            assert!(tells_too_long(words), "{words}");
        }
        for words in ["", r#"{"error":{"message":"top_k must be -1 or at least 1","code":400}}"#] {
            assert!(!tells_too_long(words), "{words}");
        }
    }

    #[test]
    fn a_refusal_inside_a_success_is_known_by_its_type_or_its_words() {
        let said = |kind: Option<&str>, message: &str| UpstreamError {
            message: message.to_owned(),
            kind: kind.map(str::to_owned),
            ..UpstreamError::default()
        };
        assert!(said(Some("exceed_context_size_error"), "").is_about_length());
        assert!(said(None, "This model's maximum context length is 8 tokens.").is_about_length());
        assert!(!said(Some("server_error"), "out of memory").is_about_length());
    }
}
