#![allow(clippy::unwrap_used)]

use super::*;

fn header(error: ApiError, name: &str) -> Option<String> {
    let response = error.into_response();
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn an_error_is_one_word_wide() {
    assert_eq!(size_of::<ApiError>(), size_of::<usize>());
}

#[test]
fn the_body_always_has_its_four_keys() {
    let body = ApiError::invalid("messages[2].content", "wrong").body();
    let expected = json!({ "error": {
        "message": "wrong", "type": "invalid_request_error", "param": "messages[2].content", "code": null,
    } });
    assert_eq!(body, expected);
}

#[test]
fn no_key_and_a_bad_key_differ_by_code_and_neither_is_worth_a_retry() {
    assert_eq!(ApiError::unauthorized(false).code(), None);
    assert_eq!(ApiError::unauthorized(true).code(), Some("invalid_api_key"));
    assert_eq!(header(ApiError::unauthorized(true), "x-should-retry").as_deref(), Some("false"));
}

#[test]
fn an_empty_balance_is_final_unless_requests_in_flight_hold_it() {
    let code = "credit_balance_exhausted";
    let empty = || ApiError::payment(code, "no credit", None);
    assert_eq!(empty().status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(header(empty(), "x-should-retry").as_deref(), Some("false"));
    assert_eq!(header(empty(), "retry-after"), None);

    let held = || ApiError::payment(code, "held", Some(NanoUsd::from_dollars(2)));
    assert_eq!(held().body()["error"]["metadata"]["held_usd"], "2.00");
    assert_eq!(header(held(), "x-should-retry"), None);
    assert_eq!(header(held(), "retry-after").as_deref(), Some("1"));
}

#[test]
fn a_wait_is_whole_seconds_between_one_and_sixty() {
    let wait = |ms| header(ApiError::overloaded(ms), "retry-after").unwrap();
    assert_eq!([wait(0), wait(1_200), wait(10_000_000)], ["1", "2", "60"]);
    assert_eq!(header(ApiError::overloaded(1_200), "retry-after-ms").as_deref(), Some("1200"));
}

#[test]
fn in_band_a_failure_has_the_type_of_its_status() {
    let kinds = [400, 402, 403, 429, 500, 502, 503, 504].map(kind_name);
    assert_eq!(kinds[..4], ["invalid_request_error", "insufficient_quota", "permission_error", "rate_limit_error"]);
    assert_eq!(kinds[4..], ["server_error", "server_error", "service_unavailable_error", "server_error"]);
}

#[test]
fn a_fault_of_ours_tells_the_client_nothing() {
    let cause = std::io::Error::other("password=hunter2");
    assert!(!ApiError::internal(&cause).body().to_string().contains("hunter2"));
}

#[test]
fn a_method_that_is_not_taken_names_those_that_are() {
    assert_eq!(header(ApiError::method_not_allowed("GET, POST"), "allow").as_deref(), Some("GET, POST"));
}
