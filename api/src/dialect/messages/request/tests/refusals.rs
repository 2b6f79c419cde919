//! What is no request, and why.

use super::*;
use crate::envelope::MAX_FIELDS;

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
