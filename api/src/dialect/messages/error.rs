//! Errors in Anthropic's shape and words.

use crate::dialect::render::quoted;

/// The body of an error. Our stable code stays beside Anthropic's type, which is coarser.
pub fn error_body(status: u16, code: Option<&str>, message: &str, request_id: &str) -> Vec<u8> {
    let (kind, message, request_id) = (kind(status), quoted(message), quoted(request_id));
    let code = code.map(|code| format!(",\"code\":{}", quoted(code))).unwrap_or_default();
    format!(
        "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":{message}{code}}},\"request_id\":{request_id}}}"
    )
    .into_bytes()
}

/// The status such an error travels under: Anthropic's clients know an overloaded server as 529.
pub fn error_status(status: u16) -> u16 {
    if status == 503 { 529 } else { status }
}

/// Anthropic's word for a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_word() {
        let words = [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (409, "conflict_error"),
            (413, "request_too_large"),
            (415, "invalid_request_error"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ];
        for (status, word) in words {
            assert_eq!(kind(status), word, "{status}");
        }
        assert_eq!([error_status(503), error_status(502), error_status(429)], [529, 502, 429]);
    }

    #[test]
    fn a_body_has_anthropics_shape_and_our_code() {
        let text = |code| String::from_utf8(error_body(404, code, "no \"x\" here", "req_1")).unwrap();
        let shape = |code| {
            format!(
                r#"{{"type":"error","error":{{"type":"not_found_error","message":"no \"x\" here"{code}}},"request_id":"req_1"}}"#
            )
        };
        assert_eq!(text(Some("model_not_found")), shape(r#","code":"model_not_found""#));
        assert_eq!(text(None), shape(""));
    }
}
