//! Any request, right or wrong.

use proptest::prelude::*;

use super::*;

/// One of several texts, right ones and wrong ones.
fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

fn item() -> impl Strategy<Value = String> {
    let value = any_of(&[
        "null",
        "1",
        "\"\"",
        "\"x\"",
        "\"\\ud800\"",
        "[]",
        "{}",
        "[1]",
        "\"user\"",
        "\"assistant\"",
        "\"system\"",
        r#"[{"type":"input_text","text":"t"}]"#,
        r#"[{"type":"reasoning_text","text":"t"}]"#,
        r#"[{"type":"input_image","image_url":"u"},{"type":"refusal","refusal":""}]"#,
        r#"[{"type":"input_file","file_id":"f"}]"#,
        r#"[{"type":"summary_text","text":"t"}]"#,
    ]);
    let kind = any_of(&[
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    ]);
    let key = any_of(&["role", "content", "summary", "call_id", "name", "arguments", "input", "output"]);
    (kind, proptest::collection::vec((key, value), 0..5)).prop_map(|(kind, fields)| {
        // What most items need is filled in, so that a good part of them is accepted.
        let mut object = serde_json::Map::new();
        for (key, value) in fields {
            object.insert(key, serde_json::from_str(&value).unwrap_or_default());
        }
        for (key, value) in [("call_id", "c"), ("name", "n"), ("arguments", "{}"), ("input", "i"), ("output", "o")] {
            object.entry(key).or_insert(json!(value));
        }
        for (key, value) in
            [("role", json!("user")), ("content", if kind == "reasoning" { json!([]) } else { json!("x") })]
        {
            object.entry(key).or_insert(value);
        }
        object.insert("type".to_owned(), json!(kind));
        Value::Object(object).to_string()
    })
}

fn field() -> impl Strategy<Value = String> {
    any_of(&[
        r#""instructions":"i""#,
        r#""temperature":1e0"#,
        r#""max_output_tokens":99"#,
        r#""include":["message.output_text.logprobs"]"#,
        r#""top_logprobs":4"#,
        r#""text":{"format":{"type":"json_schema","name":"s","schema":{"a":[]}}}"#,
        r#""tools":[{"type":"function","name":"f","description":"d","parameters":{},"strict":false}]"#,
        r#""tools":[{"type":"custom","name":"c","format":{"type":"text"}}]"#,
        r#""tools":[]"#,
        r#""tool_choice":"auto""#,
        r#""tool_choice":{"type":"function","name":"f"}"#,
        r#""tool_choice":"required""#,
        r#""reasoning":{"effort":"low"}"#,
        r#""metadata":{"k":"v"}"#,
        r#""stream":true"#,
        r#""stop":"x""#,
        r#""messages":5"#,
        r#""response_format":7"#,
        r#""max_tokens":"no""#,
        r#""stream_options":{}"#,
        r#""functions":1"#,
        r#""n":0"#,
        r#""logprobs":4"#,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is accepted here makes a chat request that the chat dialect accepts.
    #[test]
    fn accepted_requests_are_chat_requests(
        items in proptest::collection::vec(item(), 1..6),
        fields in proptest::collection::vec(field(), 0..6),
    ) {
        let fields: String = fields.iter().map(|field| format!(",{field}")).collect();
        let body = format!(r#"{{"model":"m","input":[{}]{fields}}}"#, items.join(","));
        if let Ok(request) = read(body.as_bytes()) {
            let accepted = Envelope::parse(&request.chat);
            prop_assert!(accepted.is_ok(), "{} from {}: {:?}", String::from_utf8_lossy(&request.chat), body, accepted);
            prop_assert_eq!(accepted.unwrap().stream, request.stream);
        }
    }
}
