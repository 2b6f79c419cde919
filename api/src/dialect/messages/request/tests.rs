#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::envelope::{Envelope, Inputs, MAX_CALLS, MAX_PARTS, MAX_TOOLS};

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

#[test]
fn refusals_name_the_field() {
    let cases = [
        (r#""temperature":"hot""#, "temperature"),
        (r#""temperature":1.1"#, "temperature"),
        (r#""top_p":-0.1"#, "top_p"),
        (r#""top_k":-1"#, "top_k"),
        (r#""top_k":1.5"#, "top_k"),
        (r#""stream":1"#, "stream"),
        (r#""stop_sequences":"a""#, "stop_sequences"),
        (r#""stop_sequences":["a","b","c","d","e"]"#, "stop_sequences"),
        (r#""stop_sequences":["a",1]"#, "stop_sequences[1]"),
        (r#""stop_sequences":[""]"#, "stop_sequences[0]"),
        (r#""models":[""]"#, "models[0]"),
        (r#""models":"a""#, "models"),
        (r#""provider":{"data_colection":"deny"}"#, "provider.data_colection"),
        (r#""metadata":"u""#, "metadata"),
        (r#""metadata":{"user_id":5}"#, "metadata.user_id"),
        (r#""metadata":{"user_id":"a","user_id":"b"}"#, "metadata.user_id"),
        (r#""service_tier":"priority""#, "service_tier"),
        (r#""system":5"#, "system"),
        (r#""system":[{"type":"image","source":{"type":"url","url":"u"}}]"#, "system[0].type"),
        (r#""system":[{"type":"text"}]"#, "system[0].text"),
        (r#""thinking":true"#, "thinking"),
        (r#""thinking":{}"#, "thinking.type"),
        (r#""thinking":{"type":"deep"}"#, "thinking.type"),
        (r#""thinking":{"type":"enabled"}"#, "thinking.budget_tokens"),
        (r#""thinking":{"type":"enabled","budget_tokens":1023}"#, "thinking.budget_tokens"),
        (r#""thinking":{"type":"adaptive","display":"loud"}"#, "thinking.display"),
        (r#""output_config":[]"#, "output_config"),
        (r#""output_config":{"effort":"none"}"#, "output_config.effort"),
        (r#""output_config":{"format":{"type":"xml"}}"#, "output_config.format.type"),
        (r#""output_config":{"format":{"type":"json_schema"}}"#, "output_config.format.schema"),
        (r#""output_config":{"format":{"type":"json_schema","schema":[]}}"#, "output_config.format.schema"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":[5]"#, "tools[0]"),
        (r#""tools":[{"input_schema":{}}]"#, "tools[0].name"),
        (r#""tools":[{"name":"","input_schema":{}}]"#, "tools[0].name"),
        (r#""tools":[{"name":"f"}]"#, "tools[0].input_schema"),
        (r#""tools":[{"name":"f","input_schema":[]}]"#, "tools[0].input_schema"),
        (r#""tools":[{"name":"f","description":5,"input_schema":{}}]"#, "tools[0].description"),
        (r#""tools":[{"name":"f","strict":"yes","input_schema":{}}]"#, "tools[0].strict"),
        (r#""tools":[{"name":"f","name":"g","input_schema":{}}]"#, "tools[0].name"),
        (r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#, "tools[0].type"),
        (r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, "tools[0].type"),
        (r#""tool_choice":{"type":"auto"}"#, "tool_choice"),
        (r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":"auto""#, "tool_choice"),
        (r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"some"}"#, "tool_choice.type"),
        (r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"tool"}"#, "tool_choice.name"),
        (
            r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any","disable_parallel_tool_use":1}"#,
            "tool_choice.disable_parallel_tool_use",
        ),
        (r#""top_k":1,"top_k":2"#, "top_k"),
        (r#""unknown":1,"unkno\u0077n":2"#, "unknown"),
        (r#""system":"\ud800""#, "system"),
    ];
    for (fields, param) in cases {
        assert_eq!(refusal(&with(fields)).param.as_deref(), Some(param), "{fields}");
    }
}

#[test]
fn what_every_request_needs_is_asked_for() {
    let cases = [
        (r"{}", "model"),
        (r#"{"model":null,"max_tokens":1}"#, "model"),
        (r#"{"model":5}"#, "model"),
        (r#"{"model":""}"#, "model"),
        (r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#, "max_tokens"),
        (r#"{"model":"m","max_tokens":0}"#, "max_tokens"),
        (r#"{"model":"m","max_tokens":"9"}"#, "max_tokens"),
        (r#"{"model":"m","max_tokens":4294967296}"#, "max_tokens"),
        (r#"{"model":"m","max_tokens":1}"#, "messages"),
    ];
    for (body, param) in cases {
        assert_eq!(refusal(body).param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn turns_are_checked_one_by_one() {
    let cases = [
        (r"5", "messages"),
        (r"[]", "messages"),
        (r"[5]", "messages[0]"),
        (r#"[{"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"tool","content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"user"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":null}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":[]}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":"a"},{"role":"user","content":7}]"#, "messages[1].content"),
        (r#"[{"role":"user","content":"a","content":"b"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":"\udc00"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":["a"]}]"#, "messages[0].content[0]"),
    ];
    for (messages, param) in cases {
        assert_eq!(refusal(&saying(messages)).param.as_deref(), Some(param), "{messages}");
    }
}

#[test]
fn blocks_are_checked_one_by_one() {
    let of_users = [
        (r#"{"text":"x"}"#, ".type"),
        (r#"{"type":5}"#, ".type"),
        (r#"{"type":"smell"}"#, ".type"),
        (r#"{"type":"tool_use","id":"a","name":"f","input":{}}"#, ".type"),
        (r#"{"type":"thinking","thinking":"x"}"#, ".type"),
        (r#"{"type":"text"}"#, ".text"),
        (r#"{"type":"text","text":5}"#, ".text"),
        (r#"{"type":"text","text":"a","text":"b"}"#, ".text"),
        (r#"{"type":"image"}"#, ".source"),
        (r#"{"type":"image","source":"x"}"#, ".source"),
        (r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#, ".source.type"),
        (r#"{"type":"image","source":{"type":"url"}}"#, ".source.url"),
        (r#"{"type":"image","source":{"type":"url","url":""}}"#, ".source.url"),
        (r#"{"type":"image","source":{"type":"base64","data":"aa"}}"#, ".source.media_type"),
        (r#"{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"aa"}}"#, ".source.media_type"),
        (r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"a b"}}"#, ".source.data"),
        (r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}"#, ".source.data"),
        (r#"{"type":"document","source":{"type":"url","url":"u"}}"#, ".source.type"),
        (r#"{"type":"document","source":{"type":"text"}}"#, ".source.data"),
        (
            r#"{"type":"document","source":{"type":"base64","media_type":"text/plain","data":"aa"}}"#,
            ".source.media_type",
        ),
        (r#"{"type":"document","title":5,"source":{"type":"text","data":"x"}}"#, ".title"),
        (r#"{"type":"document","source":{"type":"content","content":[{"type":"text"}]}}"#, ".source.content[0].text"),
        (r#"{"type":"search_result","source":"s","content":[]}"#, ".title"),
        (r#"{"type":"tool_result","content":"x"}"#, ".tool_use_id"),
        (r#"{"type":"tool_result","tool_use_id":"","content":"x"}"#, ".tool_use_id"),
        (r#"{"type":"tool_result","tool_use_id":"a","content":5}"#, ".content"),
        (r#"{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":5}]}"#, ".content[0].text"),
        (r#"{"type":"tool_result","tool_use_id":"a","is_error":"yes"}"#, ".is_error"),
        (r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{}}"#, ".type"),
    ];
    for (block, param) in of_users {
        let expected = format!("messages[0].content[0]{param}");
        assert_eq!(refusal(&user(&format!("[{block}]"))).param, Some(expected), "{block}");
    }
    let of_assistants = [
        (r#"{"type":"image","source":{"type":"url","url":"u"}}"#, ".type"),
        (r#"{"type":"tool_result","tool_use_id":"a"}"#, ".type"),
        (r#"{"type":"tool_use","name":"f","input":{}}"#, ".id"),
        (r#"{"type":"tool_use","id":"","name":"f","input":{}}"#, ".id"),
        (r#"{"type":"tool_use","id":"a","input":{}}"#, ".name"),
        (r#"{"type":"tool_use","id":"a","name":"f"}"#, ".input"),
        (r#"{"type":"tool_use","id":"a","name":"f","input":"{}"}"#, ".input"),
        (r#"{"type":"thinking","signature":"s"}"#, ".thinking"),
    ];
    for (block, param) in of_assistants {
        let expected = format!("messages[0].content[0]{param}");
        assert_eq!(refusal(&assistant(&format!("[{block}]"))).param, Some(expected), "{block}");
    }
}

#[test]
fn what_only_anthropic_can_do_is_told_apart_from_a_mistake() {
    let code = |body: &str| refusal(body).code;
    assert_eq!(code(&with(r#""tools":[{"type":"web_search_20250305","name":"w"}]"#)), Some("unsupported_parameter"));
    assert_eq!(code(&user(r#"[{"type":"container_upload","file_id":"f"}]"#)), Some("unsupported_parameter"));
    assert_eq!(
        code(&user(r#"[{"type":"image","source":{"type":"file","file_id":"f"}}]"#)),
        Some("unsupported_parameter")
    );
    assert_eq!(code(&with(r#""top_k":-1"#)), None);
}

#[test]
fn bounds_hold() {
    let turns = |n| saying(&format!("[{}]", many(n, r#"{"role":"user","content":""}"#)));
    assert!(read(turns(MAX_MESSAGES).as_bytes()).is_ok());
    assert_eq!(refusal(&turns(MAX_MESSAGES + 1)).param.as_deref(), Some("messages"));
    let led = turns(MAX_MESSAGES).replacen('{', r#"{"system":"s","#, 1);
    assert_eq!(refusal(&led).param.as_deref(), Some("messages"));
    let results = |n| user(&format!("[{}]", many(n, r#"{"type":"tool_result","tool_use_id":"a"}"#)));
    chat(&results(MAX_MESSAGES));
    assert_eq!(refusal(&results(MAX_MESSAGES + 1)).param.as_deref(), Some("messages"));

    let image = r#"{"type":"image","source":{"type":"url","url":"u"}}"#;
    let blocks = |n| user(&format!("[{}]", many(n, image)));
    chat(&blocks(MAX_PARTS));
    assert_eq!(refusal(&blocks(MAX_PARTS + 1)).param.as_deref(), Some("messages[0].content"));
    let nested =
        format!(r#"{{"type":"document","source":{{"type":"content","content":[{}]}}}}"#, many(MAX_PARTS, image));
    let over = refusal(&user(&format!("[{nested},{image}]")));
    assert_eq!(over.param.as_deref(), Some("messages[0].content[1]"));

    let calls = |n| assistant(&format!("[{}]", many(n, r#"{"type":"tool_use","id":"a","name":"f","input":{}}"#)));
    chat(&calls(MAX_CALLS));
    assert_eq!(refusal(&calls(MAX_CALLS + 1)).param.as_deref(), Some("messages[0].content"));
    let tools = |n| with(&format!("\"tools\":[{}]", many(n, r#"{"name":"f","input_schema":{}}"#)));
    chat(&tools(MAX_TOOLS));
    assert_eq!(refusal(&tools(MAX_TOOLS + 1)).param.as_deref(), Some("tools"));

    let name = |n| with(&format!(r#""tools":[{{"name":"{}","input_schema":{{}}}}]"#, "é".repeat(n)));
    chat(&name(64));
    assert_eq!(refusal(&name(65)).param.as_deref(), Some("tools[0].name"));
    let id = |n| with(&format!(r#""metadata":{{"user_id":"{}"}}"#, "é".repeat(n)));
    chat(&id(MAX_USER_CHARS));
    assert_eq!(refusal(&id(MAX_USER_CHARS + 1)).param.as_deref(), Some("metadata.user_id"));
    let model = |n| with("").replace("org/name", &"m".repeat(n));
    chat(&model(256));
    assert_eq!(refusal(&model(257)).param.as_deref(), Some("model"));
    let fields: Vec<String> = (0..MAX_FIELDS).map(|key| format!("\"x{key}\":1")).collect();
    assert_eq!(refusal(&with(&fields.join(","))).param, None);
}

#[test]
fn nesting_that_chat_would_refuse_is_refused_here() {
    let schema = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{}", "}".repeat(depth - 1));
    let tool = |depth| with(&format!(r#""tools":[{{"name":"f","input_schema":{}}}]"#, schema(depth)));
    let accepts = |body: &str| Envelope::parse(&read(body.as_bytes()).unwrap().chat).is_ok();
    assert!(accepts(&tool(124)));
    assert_eq!(refusal(&tool(125)).param.as_deref(), Some("tools[0].input_schema"));
    assert_eq!(refusal(&tool(126)).param, None);
    let format =
        |depth| with(&format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{}}}}}"#, schema(depth)));
    assert!(accepts(&format(125)));
    assert_eq!(refusal(&format(126)).param, None);
}

#[test]
fn what_is_no_request_at_all_is_refused_without_a_field() {
    let deep = with(&format!("\"x\":{}{}", "[".repeat(200), "]".repeat(200)));
    for body in ["", "{", "[]", "5", "{\"a\":}", "{} x", "\u{feff}{}", "{\"a\":\"\n\"}", &deep, &"[".repeat(1_000_000)]
    {
        assert_eq!(refusal(body).param, None, "{}", &body[..body.len().min(60)]);
    }
    assert!(read(b"{\"model\":\"\xff\"}").unwrap_err().message.contains("not UTF-8 (byte 10)"));
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
