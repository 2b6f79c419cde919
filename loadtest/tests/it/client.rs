use std::time::{Duration, Instant};

use loadtest::client::{Client, Ended};
use loadtest::scenario::Ask;
use tokio::io::AsyncWriteExt;

use crate::server::{DONE, ROLE, STOP, STREAM_HEAD, Server, USAGE, WORD, chunk, json};

async fn ask(server: &Server, stream: bool) -> loadtest::client::Answer {
    let client = Client::connect(&server.url(), Some("sk-test"), 8).await.unwrap();
    client.chat(&Ask::chat("m", "hello", 8, stream), Instant::now()).await
}

/// Sends `events` one HTTP chunk each, then ends the body properly or closes the socket.
async fn scripted(events: &'static [&'static str], ends: bool) -> Server {
    Server::start(move |_, mut stream| async move {
        stream.write_all(STREAM_HEAD.as_bytes()).await.unwrap();
        for event in events {
            chunk(&mut stream, event).await;
        }
        if ends {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        None
    })
    .await
}

#[tokio::test]
async fn a_whole_stream_is_a_whole_answer() {
    let server = scripted(&[ROLE, WORD, WORD, STOP, USAGE, DONE], true).await;
    let answer = ask(&server, true).await;
    assert_eq!(answer.ended, Ended::Complete { finish_reason: "stop".into() });
    assert_eq!((answer.chunks, answer.cost.unwrap().nano()), (2, 15));
    assert_eq!(answer.gaps_us.len(), 1);
}

#[tokio::test]
async fn a_bare_close_is_a_failure_however_it_is_dressed() {
    // The socket dies; the body ends in order but says no more; a finish reason came and [DONE] did not;
    // [DONE] came and nothing said why.
    for (events, ends) in [
        (&[ROLE, WORD][..], false),
        (&[ROLE, WORD][..], true),
        (&[ROLE, WORD, STOP][..], true),
        (&[ROLE, WORD, DONE][..], true),
        (&[][..], true),
    ] {
        let server = scripted(events, ends).await;
        let answer = ask(&server, true).await;
        assert!(matches!(answer.ended, Ended::Broken { .. }), "{events:?} {ends}: {:?}", answer.ended);
        // What was begun can still be looked up in the books.
        assert_eq!(answer.id.is_some(), !events.is_empty());
    }
}

#[tokio::test]
async fn a_stated_error_is_no_bare_close() {
    const GONE: &str = "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}],\"error\":{\"code\":\"provider_disconnected\",\"message\":\"x\"}}\n\n";
    let server = scripted(&[ROLE, WORD, GONE, DONE], true).await;
    assert_eq!(ask(&server, true).await.ended, Ended::InBand { code: "provider_disconnected".into() });
}

#[tokio::test]
async fn a_refusal_is_kept_by_its_code() {
    let server = Server::start(|_, mut stream| async move {
        json(&mut stream, "402 Payment Required", r#"{"error":{"code":"credit_balance_exhausted","type":"x"}}"#).await;
        Some(stream)
    })
    .await;
    let answer = ask(&server, false).await;
    assert!(
        matches!(answer.ended, Ended::Refused { status, ref code } if status == 402 && code == "credit_balance_exhausted")
    );
    assert!(answer.id.is_none() && answer.cost.is_none());
}

#[tokio::test]
async fn the_key_is_shown_and_the_connection_kept() {
    let server = Server::start(|request, mut stream| async move {
        assert!(request.contains("authorization: Bearer sk-test"), "{request}");
        let peer = stream.peer_addr().unwrap().port();
        let body =
            format!(r#"{{"id":"port-{peer}","choices":[{{"finish_reason":"stop"}}],"usage":{{"cost":0.000001}}}}"#);
        json(&mut stream, "200 OK", &body).await;
        Some(stream)
    })
    .await;
    let client = Client::connect(&server.url(), Some("sk-test"), 8).await.unwrap();
    let ask = Ask::chat("m", "hello", 8, false);
    let first = client.chat(&ask, Instant::now()).await;
    let second = client.chat(&ask, Instant::now()).await;
    assert_eq!(first.ended, Ended::Complete { finish_reason: "stop".into() });
    assert!(first.id.is_some() && first.id == second.id);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_no_failure() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    // Answers once, promises to stay, and closes.
    let server = Server::start(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            json(&mut stream, "200 OK", r#"{"id":"a","choices":[{"finish_reason":"stop"}]}"#).await;
            drop(stream);
            tell.send(()).unwrap();
            None
        }
    })
    .await;
    let client = Client::connect(&server.url(), None, 8).await.unwrap();
    let ask = Ask::chat("m", "hello", 8, false);
    for _ in 0..20 {
        let answer = client.chat(&ask, Instant::now()).await;
        assert_eq!(answer.ended, Ended::Complete { finish_reason: "stop".into() });
        told.recv().await.unwrap();
        // The runtime looks at its sockets at least every 61 turns: after this the close has been seen.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_closes_its_connection() {
    let (gone, seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let gone = gone.clone();
        async move {
            stream.write_all(STREAM_HEAD.as_bytes()).await.unwrap();
            for event in [ROLE, WORD, WORD, WORD] {
                chunk(&mut stream, event).await;
            }
            let mut rest = [0; 1];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await;
            gone.send(matches!(read, Ok(0) | Err(_))).unwrap();
            None
        }
    })
    .await;
    let client = Client::connect(&server.url(), None, 8).await.unwrap();
    let mut ask = Ask::chat("m", "hello", 8, true);
    ask.leave_after = Some(2);
    let answer = client.chat(&ask, Instant::now()).await;
    assert_eq!((answer.ended, answer.id.as_deref()), (Ended::Left, Some("chatcmpl-1")));
    let mut seen = seen;
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), seen.recv()).await.unwrap(), Some(true));
}
