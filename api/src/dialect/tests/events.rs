//! Bytes cut into events.

use super::*;

#[test]
fn lines_are_understood_as_the_format_says() {
    let stream =
        b"data: a\n\n: note\n\ndata:b\ndata:  c\n\nevent: x\ndata\n\nretry: 5\n\ndatax: no\n\ndata: d\r\n\r\n\r\n";
    let found = events(&[stream]).unwrap();
    assert_eq!(found, ["a", "b\n c", "", "d"]);
}

#[test]
fn an_event_without_its_empty_line_is_kept_for_the_end() {
    let mut scanner = EventScanner::new();
    scanner.push(Bytes::from_static(b"data: [DONE]\n"));
    assert_eq!(scanner.next_event().unwrap(), None);
    assert!(scanner.is_mid_event());
    assert_eq!(scanner.finish().unwrap(), "[DONE]");
    let mut scanner = EventScanner::new();
    scanner.push(Bytes::from_static(b"data: {\"cut"));
    assert_eq!(scanner.next_event().unwrap(), None);
    assert_eq!(scanner.finish(), None);
    assert!(scanner.is_mid_event());
}

#[test]
fn an_event_within_one_piece_is_not_copied() {
    let piece = Bytes::from_static(b"data: one\n\ndata: two\n\n");
    let range = piece.as_ptr_range();
    let mut scanner = EventScanner::new();
    scanner.push(piece);
    for _ in 0..2 {
        let event = scanner.next_event().unwrap().unwrap();
        assert!(range.contains(&event.as_ptr()));
    }
}

#[test]
fn endless_events_are_cut_off() {
    let line = vec![b'x'; 64 << 10];
    let mut scanner = EventScanner::new();
    scanner.push(Bytes::from_static(b"data: "));
    let mut result = scanner.next_event();
    for _ in 0..20 {
        scanner.push(Bytes::from(line.clone()));
        result = scanner.next_event();
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(Error::EventTooLarge));
    // Comments without end are no event, and are not kept.
    let mut scanner = EventScanner::new();
    for _ in 0..50_000 {
        scanner.push(Bytes::from_static(b": keep this connection alive\n"));
        assert_eq!(scanner.next_event().unwrap(), None);
    }
    assert!(!scanner.is_mid_event());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever the network cuts a stream, the client gets the same bytes.
    #[test]
    fn cuts_do_not_show(cuts in proptest::collection::vec(0usize..4000, 0..40), first in any::<bool>()) {
        let stream = if first { llama() } else { vllm() };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
        let cut = events(&pieces).unwrap();
        prop_assert_eq!(&cut, &one(&stream));
    }

    /// Copying text without parsing gives what parsing gives.
    #[test]
    fn the_fast_path_equals_the_slow_one(
        texts in proptest::collection::vec(("[a-c \"\\\\\n\u{1}é😀]{0,6}", 0u32..3, 0u8..4), 1..40),
        include_usage in any::<bool>(),
    ) {
        let events: Vec<Bytes> = texts.iter().map(|(text, index, shape)| {
            let text = serde_json::to_string(text).unwrap();
            let delta = match shape {
                0 => format!("{{\"reasoning\":{text}}}"),
                1 => format!("{{\"role\":\"assistant\",\"content\":{text}}}"),
                2 => format!("{{\"content\":{text},\"reasoning_content\":{text}}}"),
                _ => format!("{{\"content\":{text}}}"),
            };
            Bytes::from(format!("{{\"id\":\"u\",\"choices\":[{{\"index\":{index},\"delta\":{delta},\"finish_reason\":null}}]}}"))
        }).collect();
        let (fast, slow) = (rewrite(&events, include_usage, true), rewrite(&events, include_usage, false));
        prop_assert_eq!(fast.out, slow.out);
        prop_assert_eq!(fast.kinds, slow.kinds);
        for choice in 0..3 {
            for channel in [Channel::Content, Channel::Reasoning] {
                prop_assert_eq!(fast.counter.text(choice, channel), slow.counter.text(choice, channel));
            }
        }
    }

    /// No bytes from a provider bring the gateway down, or get through as something else than JSON.
    #[test]
    fn any_bytes_are_survived(at in 0usize..3000, with in proptest::collection::vec(any::<u8>(), 0..6), first in any::<bool>()) {
        let mut stream = if first { llama() } else { vllm() }.into_bytes();
        let at = at % stream.len();
        let end = (at + with.len()).min(stream.len());
        stream.splice(at..end, with);
        let mut reader = reader(false);
        let mut counter = Counter::new(None);
        let mut out = BytesMut::new();
        for event in events(&[&stream]).unwrap() {
            if reader.read(&event, &mut out, &mut counter).is_err() {
                break;
            }
        }
        let out = std::str::from_utf8(&out).unwrap();
        for line in out.split("\n\n").filter(|line| !line.is_empty()) {
            let json = line.strip_prefix("data: ").unwrap();
            prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{}", json);
        }
    }
}
