#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::envelope::{Envelope, Inputs, MAX_CALLS, MAX_PARTS, MAX_TOOLS};

mod refusals;

const HELLO: &str = r#""model":"org/name","max_tokens":64,"messages":[{"role":"user","content":"hi"}]"#;

fn with(fields: &str) -> String {
    format!("{{{HELLO}{}{fields}}}", if fields.is_empty() { "" } else { "," })
}

fn saying(messages: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":1,"messages":{messages}}}"#)
}

fn user(blocks: &str) -> String {
    saying(&format!(r#"[{{"role":"user","content":{blocks}}}]"#))
}

fn assistant(blocks: &str) -> String {
    saying(&format!(r#"[{{"role":"assistant","content":{blocks}}}]"#))
}

/// The chat request for a body, which chat itself must accept.
fn chat(body: &str) -> Value {
    let request = read(body.as_bytes()).unwrap_or_else(|refused| panic!("{body}: {refused}"));
    Envelope::parse(&request.chat).unwrap_or_else(|refused| panic!("{body}: {refused}"));
    serde_json::from_slice(&request.chat).unwrap()
}

fn messages(body: &str) -> Value {
    chat(body)["messages"].clone()
}

fn refusal(body: &str) -> Invalid {
    read(body.as_bytes()).expect_err(&body.chars().take(300).collect::<String>())
}

fn many(n: usize, one: &str) -> String {
    vec![one; n].join(",")
}

#[test]
fn a_small_request_becomes_a_small_chat_request() {
    let request = read(with("").as_bytes()).unwrap();
    let chat = r#"{"model":"org/name","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(String::from_utf8(request.chat).unwrap(), chat);
    assert_eq!(request.wants, Wants::default());
}

#[test]
fn every_field_finds_its_place_in_chat() {
    let cases = [
        (r#""temperature":0.70"#, json!({"temperature": 0.70})),
        (r#""top_p":1"#, json!({"top_p": 1})),
        (r#""top_k":40"#, json!({"top_k": 40})),
        (r#""stream":true"#, json!({"stream": true})),
        (r#""stream":false"#, json!({})),
        (r#""stop_sequences":["a","b"]"#, json!({"stop": ["a", "b"]})),
        (r#""stop_sequences":[]"#, json!({})),
        (r#""models":["a/b:free"]"#, json!({"models": ["a/b:free"]})),
        (r#""provider":{"zdr":true}"#, json!({"provider": {"zdr": true}})),
        (r#""metadata":{"user_id":"u","other":5}"#, json!({"user": "u"})),
        (r#""metadata":{"user_id":null}"#, json!({})),
        (r#""service_tier":"auto""#, json!({"service_tier": "auto"})),
        (r#""service_tier":"standard_only""#, json!({"service_tier": "default"})),
        (r#""thinking":{"type":"disabled"}"#, json!({"reasoning_effort": "none"})),
        (r#""thinking":{"type":"adaptive"}"#, json!({})),
        (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, json!({"reasoning_effort": "low"})),
        (r#""thinking":{"type":"enabled","budget_tokens":4096}"#, json!({"reasoning_effort": "medium"})),
        (r#""thinking":{"type":"enabled","budget_tokens":32000}"#, json!({"reasoning_effort": "high"})),
        (r#""output_config":{"effort":"xhigh"}"#, json!({"reasoning_effort": "xhigh"})),
        (
            r#""output_config":{"effort":"max"},"thinking":{"type":"enabled","budget_tokens":1024}"#,
            json!({"reasoning_effort": "max"}),
        ),
        (r#""output_config":{"effort":"max"},"thinking":{"type":"disabled"}"#, json!({"reasoning_effort": "none"})),
        (
            r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#,
            json!({"response_format": {"type": "json_schema",
                "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}}}),
        ),
        (r#""output_config":{"effort":null,"format":null}"#, json!({})),
        (r#""tools":[]"#, json!({})),
        (r#""cache_control":{"type":"ephemeral"},"container":null,"speed":"fast","unknown":[{}]"#, json!({})),
        (r#""temperature":null,"tools":null,"thinking":null,"system":null,"stop_sequences":null"#, json!({})),
    ];
    for (fields, more) in cases {
        let mut expected = chat(&with(""));
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(chat(&with(fields)), expected, "{fields}");
    }
}

#[test]
fn tools_and_the_choice_among_them_are_functions_in_chat() {
    let tools = r#""tools":[{"name":"f","description":"d\n","input_schema":{"type":"object"},"strict":true,"cache_control":{}},
        {"type":"custom","name":"g","input_schema":{}},{"type":null,"name":"h","description":null,"input_schema":{}}]"#;
    let functions = json!([
        {"type": "function", "function": {"name": "f", "description": "d\n", "strict": true, "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g", "parameters": {}}},
        {"type": "function", "function": {"name": "h", "parameters": {}}},
    ]);
    assert_eq!(chat(&with(tools))["tools"], functions);
    let choices = [
        (r#"{"type":"auto"}"#, json!("auto"), Value::Null),
        (r#"{"type":"any"}"#, json!("required"), Value::Null),
        (r#"{"type":"none"}"#, json!("none"), Value::Null),
        (r#"{"type":"tool","name":"f"}"#, json!({"type": "function", "function": {"name": "f"}}), Value::Null),
        (r#"{"type":"auto","disable_parallel_tool_use":true}"#, json!("auto"), json!(false)),
        (r#"{"type":"any","disable_parallel_tool_use":false}"#, json!("required"), Value::Null),
    ];
    for (choice, expected, parallel) in choices {
        let chat = chat(&with(&format!("\"tool_choice\":{choice},{tools}")));
        assert_eq!((&chat["tool_choice"], &chat["parallel_tool_calls"]), (&expected, &parallel), "{choice}");
    }
}

#[test]
fn the_system_prompt_leads() {
    let hi = json!({"role": "user", "content": "hi"});
    let cases = [
        (r#""system":"be \"kind\"""#, "be \"kind\""),
        (
            r#""system":[{"type":"text","text":"one"},{"type":"text","text":"two","cache_control":{"type":"ephemeral"}}]"#,
            "one\ntwo",
        ),
        (r#""system":[]"#, ""),
    ];
    for (system, text) in cases {
        assert_eq!(messages(&with(system)), json!([{"role": "system", "content": text}, hi]), "{system}");
    }
    let amid = r#"[{"role":"user","content":"a"},{"role":"system","content":"b"},{"role":"user","content":"c"}]"#;
    assert_eq!(messages(&saying(amid)), serde_json::from_str::<Value>(amid).unwrap());
}

#[test]
fn what_a_user_shows_becomes_parts() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let said = |text: &str| json!({"type": "text", "text": text});
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,JVBE"}});
    let png = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBOR\/w0K="}}"#;
    let pdf = r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}"#;
    let cases = [
        (r#""a""#.to_owned(), json!("a")),
        (r#"[{"type":"text","text":"a"}]"#.to_owned(), json!("a")),
        (r#"[{"type":"text","text":"a\u00e9"},{"type":"text","text":"b"}]"#.to_owned(), json!("aé\nb")),
        (
            format!(r#"[{{"type":"text","text":"a"}},{png}]"#),
            json!([said("a"), image("data:image/png;base64,iVBOR/w0K=")]),
        ),
        (
            r#"[{"type":"image","source":{"type":"url","url":"https://x/\u0079.png"}}]"#.to_owned(),
            json!([image("https://x/y.png")]),
        ),
        (format!("[{pdf}}}]"), json!([file("document.pdf")])),
        (format!(r#"[{pdf},"title":"t.pdf","context":"c"}}]"#), json!([said("c"), file("t.pdf")])),
        (
            r#"[{"type":"document","title":"T","context":"C","source":{"type":"text","media_type":"text/plain","data":"D"}}]"#.to_owned(),
            json!("T\nC\nD"),
        ),
        (
            format!(r#"[{{"type":"document","source":{{"type":"content","content":[{{"type":"text","text":"x"}},{png}]}}}}]"#),
            json!([said("x"), image("data:image/png;base64,iVBOR/w0K=")]),
        ),
        (r#"[{"type":"document","source":{"type":"content","content":"x"}}]"#.to_owned(), json!("x")),
        (
            r#"[{"type":"search_result","title":"T","source":"S","content":[{"type":"text","text":"x"}]}]"#.to_owned(),
            json!("T\nS\nx"),
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(messages(&user(&content)), json!([{"role": "user", "content": expected}]), "{content}");
    }
    let body = user(&format!("[{png},{pdf}}}]"));
    let request = read(body.as_bytes()).unwrap();
    let inputs = Inputs { image: true, audio: false, file: true };
    assert_eq!(Envelope::parse(&request.chat).unwrap().inputs, inputs);
}

#[test]
fn results_of_tools_come_before_the_rest_of_a_turn() {
    let tool = |id: &str, content: Value| json!({"role": "tool", "tool_call_id": id, "content": content});
    let body = user(
        r#"[{"type":"text","text":"and now?"},
        {"type":"tool_result","tool_use_id":"toolu_1","content":"4"},
        {"type":"tool_result","tool_use_id":"toolu_2"},
        {"type":"tool_result","tool_use_id":"toolu_3","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}],"is_error":false},
        {"type":"tool_result","tool_use_id":"toolu_4","content":"no such file","is_error":true},
        {"type":"tool_result","tool_use_id":"toolu_5","content":[{"type":"image","source":{"type":"url","url":"u"}}]}]"#,
    );
    let expected = json!([
        tool("toolu_1", json!("4")),
        tool("toolu_2", json!("")),
        tool("toolu_3", json!("x\ny")),
        tool("toolu_4", json!("Error:\nno such file")),
        tool("toolu_5", json!([{"type": "image_url", "image_url": {"url": "u"}}])),
        {"role": "user", "content": "and now?"},
    ]);
    assert_eq!(messages(&body), expected);
    let alone = user(r#"[{"type":"tool_result","tool_use_id":"t","content":""}]"#);
    assert_eq!(messages(&alone), json!([tool("t", json!(""))]));
}

#[test]
fn an_assistants_turn_stays_one_message() {
    let turn = |more: Value| {
        let mut message = json!({"role": "assistant"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([message])
    };
    let call = |arguments: &str| json!({"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": arguments}});
    let used = r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{"a": "\"\n"},"caller":{"type":"direct"}}"#;
    let arguments = r#"{"a": "\"\n"}"#;
    let cases = [
        (r#""prefill""#.to_owned(), json!({"content": "prefill"})),
        ("[]".to_owned(), json!({"content": ""})),
        (format!("[{used}]"), json!({"content": null, "tool_calls": [call(arguments)]})),
        (
            format!(r#"[{{"type":"text","text":"a"}},{used},{used},{{"type":"text","text":"b"}}]"#),
            json!({"content": "a\nb", "tool_calls": [call(arguments), call(arguments)]}),
        ),
        (
            r#"[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"a"}]"#.to_owned(),
            json!({"content": "a", "reasoning_content": "hm"}),
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(messages(&assistant(&content)), turn(expected), "{content}");
    }
}

#[test]
fn thinking_is_shown_to_those_who_ask() {
    let cases = [
        ("", false),
        (r#""thinking":{"type":"disabled"}"#, false),
        (r#""thinking":{"type":"adaptive"}"#, true),
        (r#""thinking":{"type":"adaptive","display":"omitted"}"#, false),
        (r#""thinking":{"type":"enabled","budget_tokens":2000,"display":"summarized"}"#, true),
        (r#""output_config":{"effort":"high"}"#, false),
    ];
    for (fields, shown) in cases {
        assert_eq!(read(with(fields).as_bytes()).unwrap().wants.thinking, shown, "{fields}");
    }
    let wants = read(with(r#""stream":true,"stop_sequences":["\n"]"#).as_bytes()).unwrap().wants;
    assert_eq!(wants, Wants { stream: true, thinking: false, stop_sequences: vec!["\n".to_owned()] });
}

#[test]
fn counting_tokens_needs_no_bound_on_the_answer() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"system":"s"}"#;
    let chat = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#;
    assert_eq!(String::from_utf8(count_tokens_request(body).unwrap()).unwrap(), chat);
    assert_eq!(read(body).unwrap_err().param.as_deref(), Some("max_tokens"));
    let refused = count_tokens_request(with("\"top_k\":-1").as_bytes()).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("top_k"));
}

/// A request of blocks that may be right or wrong.
fn body() -> impl Strategy<Value = String> {
    let text = r#"("[ax\\"]{0,3}"|5|null|"\\n")"#;
    let block = prop_oneof![
        text.prop_map(|text| format!(r#"{{"type":"text","text":{text}}}"#)),
        text.prop_map(|text| format!(r#"{{"type":"tool_result","tool_use_id":"a","content":{text}}}"#)),
        text.prop_map(|text| format!(r#"{{"type":"document","title":{text},"source":{{"type":"text","data":"d"}}}}"#)),
        "[a=/ ]{0,3}".prop_map(|data| {
            format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#)
        }),
        r#"\{"a":(1|"\}"|\[\{\}\]|x)\}"#
            .prop_map(|input| format!(r#"{{"type":"tool_use","id":"a","name":"f","input":{input}}}"#)),
        text.prop_map(|text| format!(r#"{{"type":"thinking","thinking":{text}}}"#)),
    ];
    let content = prop_oneof![
        text.boxed(),
        prop::collection::vec(block, 0..4).prop_map(|blocks| format!("[{}]", blocks.join(","))).boxed()
    ];
    let turn = ("(user|assistant|system|tool)", content)
        .prop_map(|(role, content)| format!(r#"{{"role":"{role}","content":{content}}}"#));
    prop::collection::vec(turn, 0..4).prop_map(|turns| saying(&format!("[{}]", turns.join(","))))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    /// Whatever is accepted here, chat accepts: a request never fails half-way on words its client did not write.
    #[test]
    fn what_is_accepted_is_a_chat_request(body in body()) {
        if let Ok(request) = read(body.as_bytes()) {
            let parsed = Envelope::parse(&request.chat);
            prop_assert!(parsed.is_ok(), "{body}: {parsed:?}");
        }
    }
}
