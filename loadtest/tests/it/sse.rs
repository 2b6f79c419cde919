use loadtest::decimal;
use loadtest::sse::{Scanner, Seen};
use proptest::prelude::*;

use crate::server::{DONE, ROLE, STOP, USAGE, WORD};

fn read(text: &str) -> Seen {
    let mut scanner = Scanner::default();
    scanner.feed(text.as_bytes());
    scanner.finish()
}

#[test]
fn a_whole_stream_says_all_it_has_to() {
    let seen = read(&format!(": keepalive\n\n{ROLE}{WORD}{WORD}{STOP}{USAGE}{DONE}"));
    assert_eq!(seen.id.as_deref(), Some("chatcmpl-1"));
    assert_eq!((seen.chunks, seen.finish_reason.as_deref()), (2, Some("stop")));
    assert_eq!(seen.cost, Some(decimal::parse("0.000000015").unwrap()));
    assert!(seen.done && seen.error.is_none() && seen.garbage.is_none());
}

#[test]
fn spaces_in_the_json_change_nothing() {
    let spaced =
        r#"data: {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}]}"#;
    let seen = read(&format!("{ROLE}{spaced}\n\n{WORD}{STOP}{DONE}"));
    assert_eq!((seen.chunks, seen.finish_reason.as_deref()), (2, Some("stop")));
}

#[test]
fn what_a_model_says_is_not_mistaken_for_what_the_stream_says() {
    let quoting = r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"\"error\" \"cost\" \"finish_reason\":\"stop\" [DONE]"},"finish_reason":null}]}"#;
    let seen = read(&format!("{ROLE}{quoting}\n\n"));
    assert_eq!((seen.chunks, seen.done), (1, false));
    assert!(seen.finish_reason.is_none() && seen.error.is_none() && seen.garbage.is_none());
}

#[test]
fn an_error_in_band_is_seen_with_its_code() {
    let ours = r#"data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"error"}],"error":{"message":"gone","type":"server_error","param":null,"code":"provider_disconnected"}}"#;
    assert_eq!(read(&format!("{ROLE}{ours}\n\n{DONE}")).error.as_deref(), Some("provider_disconnected"));
    let bare = r#"data: {"error":{"code":500,"message":"failed"}}"#;
    assert_eq!(read(&format!("{ROLE}{bare}\n\n")).error.as_deref(), Some("500"));
}

#[test]
fn what_can_not_be_read_is_noticed() {
    for text in ["garbage\n\n", "data: {not json\n\n", "data: {\"id\":\"x\"", "event: x\ndata: 1\n\n"] {
        assert!(read(text).garbage.is_some(), "{text:?}");
    }
    assert!(read(&format!("{ROLE}{STOP}{DONE}{WORD}")).garbage.is_some());
}

proptest! {
    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..80, 1..40)) {
        let text = format!("{ROLE}{WORD}: keepalive\n\n{WORD}{WORD}{STOP}{USAGE}{DONE}");
        let mut scanner = Scanner::default();
        let (mut rest, mut counted) = (text.as_bytes(), 0);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            counted += scanner.feed(piece);
            rest = after;
        }
        prop_assert_eq!(counted, 3);
        prop_assert_eq!(scanner.finish(), read(&text));
    }
}
