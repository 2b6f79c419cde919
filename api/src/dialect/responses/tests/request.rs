//! Top-level fields: what becomes of each, and what is refused.

use super::*;
use crate::envelope::{MAX_CALLS, MAX_FIELDS, MAX_TOOLS};

#[test]
fn a_small_request_becomes_a_small_chat_request() {
    let wanted = json!({ "model": "org/name", "messages": [{ "role": "user", "content": "hi" }], "stream": false });
    assert_eq!(chat(&with("")), wanted);
    assert_eq!(chat(&with(r#""text":null,"tools":null,"reasoning":null,"include":null,"tool_choice":null"#)), wanted);
    assert!(!read(with("").as_bytes()).unwrap().stream);
    assert!(read(with(r#""stream":true,"stream_options":{"include_obfuscation":false}"#).as_bytes()).unwrap().stream);
}

#[test]
fn every_field_has_its_counterpart() {
    let body = with(
        r#""instructions":"Be brief.","models":["a/b"],"provider":{"zdr":true},"service_tier":"flex","prompt_cache_key":"k",
        "metadata":{"a":"b"},"safety_identifier":"s","user":"u","temperature":0.5,"top_p":0.9,"top_k":4,"min_p":0.1,
        "presence_penalty":1,"frequency_penalty":-1,"seed":7,"stop":["x"],"max_output_tokens":16,"max_tool_calls":3,
        "reasoning":{"effort":"low","summary":"auto"},"text":{"verbosity":"low","format":{"type":"json_object"}},
        "include":["message.output_text.logprobs","reasoning.encrypted_content"],"top_logprobs":2,"truncation":"auto",
        "parallel_tool_calls":false,"tools":[{"type":"function","name":"f"}],"tool_choice":"required","stream":true,
        "store":true,"background":false,"previous_response_id":null,"n":5,"unknown":{"deep":[1]}"#,
    );
    let wanted = json!({
        "model": "org/name",
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }],
        "models": ["a/b"], "provider": { "zdr": true }, "service_tier": "flex", "prompt_cache_key": "k",
        "metadata": { "a": "b" }, "safety_identifier": "s", "user": "u",
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "presence_penalty": 1, "frequency_penalty": -1,
        "seed": 7, "stop": ["x"], "max_completion_tokens": 16, "reasoning_effort": "low", "verbosity": "low",
        "response_format": { "type": "json_object" }, "logprobs": true, "top_logprobs": 2,
        "parallel_tool_calls": false, "tools": [{ "type": "function", "function": { "name": "f" } }],
        "tool_choice": "required", "stream": true,
    });
    assert_eq!(chat(&body), wanted);
}

#[test]
fn a_schema_moves_into_response_format() {
    let body = with(
        r#""text":{"format":{"type":"json_schema","name":"s","description":"d","strict":true,
        "schema":{"type": "object", "properties": {"a b": {}}}}}"#,
    );
    let schema = json!({ "type": "object", "properties": { "a b": {} } });
    let wanted = json!({ "type": "json_schema", "json_schema":
        { "name": "s", "description": "d", "strict": true, "schema": schema } });
    assert_eq!(chat(&body)["response_format"], wanted);
    let wanted = json!({ "format": { "type": "json_schema", "name": "s", "description": "d", "strict": true,
        "schema": schema }, "verbosity": "medium" });
    assert_eq!(object(&body)["text"], wanted);
    let loose = with(r#""text":{"format":{"type":"json_schema","name":"s","schema":{}}}"#);
    assert_eq!(chat(&loose)["response_format"]["json_schema"], json!({ "name": "s", "schema": {} }));
    assert_eq!(object(&loose)["text"]["format"]["strict"], json!(false));
}

#[test]
fn tools_are_nested_for_the_engine_and_flat_in_the_answer() {
    let body = with(
        r#""tools":[{"type":"function","name":"f","description":"d","parameters":{"type": "object"},"strict":true},
        {"type":"function","name":"g","parameters":null},{"type":"custom","name":"c"},
        {"type":"custom","name":"r","description":"d","format":{"type":"grammar","syntax":"regex","definition":"a+"}}]"#,
    );
    let chat_tools = json!([
        { "type": "function", "function":
            { "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true } },
        { "type": "function", "function": { "name": "g" } },
        { "type": "custom", "custom": { "name": "c" } },
        { "type": "custom", "custom": { "name": "r", "description": "d",
            "format": { "type": "grammar", "grammar": { "syntax": "regex", "definition": "a+" } } } },
    ]);
    assert_eq!(chat(&body)["tools"], chat_tools);
    let told = json!([
        { "type": "function", "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true },
        { "type": "function", "name": "g", "description": null, "parameters": null, "strict": false },
        { "type": "custom", "name": "c", "format": { "type": "text" } },
        { "type": "custom", "name": "r", "description": "d",
            "format": { "type": "grammar", "syntax": "regex", "definition": "a+" } },
    ]);
    assert_eq!(object(&body)["tools"], told);
}

#[test]
fn a_choice_among_tools_is_nested_too() {
    let tools = r#""tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"}]"#;
    let named = |kind: &str, name: &str| json!({ "type": kind, kind: { "name": name } });
    let cases = [
        (r#""none""#, json!("none")),
        (r#"{"type":"function","name":"f"}"#, named("function", "f")),
        (r#"{"name":"c","type":"custom"}"#, named("custom", "c")),
        (
            r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"}]}"#,
            json!({ "type": "allowed_tools", "allowed_tools":
                { "mode": "auto", "tools": [named("function", "f"), named("custom", "c")] } }),
        ),
    ];
    for (choice, wanted) in cases {
        let body = with(&format!(r#"{tools},"tool_choice":{choice}"#));
        assert_eq!(chat(&body)["tool_choice"], wanted);
        assert_eq!(object(&body)["tool_choice"], serde_json::from_str::<Value>(choice).unwrap());
    }
    let moot = chat(&with(r#""tools":[],"tool_choice":"auto","parallel_tool_calls":true"#));
    assert!(["tools", "tool_choice", "parallel_tool_calls"].iter().all(|key| moot.get(key).is_none()), "{moot}");
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        (r#""instructions":["x"]"#, "instructions"),
        (r#""instructions":"\ud800""#, "instructions"),
        (r#""temperature":2.1"#, "temperature"),
        (r#""top_p":"x""#, "top_p"),
        (r#""presence_penalty":3"#, "presence_penalty"),
        (r#""max_output_tokens":15"#, "max_output_tokens"),
        (r#""max_output_tokens":4294967296"#, "max_output_tokens"),
        (r#""max_output_tokens":16.5"#, "max_output_tokens"),
        (r#""max_tool_calls":0"#, "max_tool_calls"),
        (r#""top_logprobs":21"#, "top_logprobs"),
        (r#""include":"x""#, "include"),
        (r#""include":["message.output_text.logprobs","x"]"#, "include[1]"),
        (r#""truncation":"none""#, "truncation"),
        (r#""store":"no""#, "store"),
        (r#""stream":1"#, "stream"),
        (r#""stream_options":{"include_obfuscation":1}"#, "stream_options.include_obfuscation"),
        (r#""background":"no""#, "background"),
        (r#""parallel_tool_calls":1"#, "parallel_tool_calls"),
        (r#""reasoning":"high""#, "reasoning"),
        (r#""reasoning":{"effort":"extreme"}"#, "reasoning.effort"),
        (r#""reasoning":{"summary":true}"#, "reasoning.summary"),
        (r#""text":[]"#, "text"),
        (r#""text":{"verbosity":"loud"}"#, "text.verbosity"),
        (r#""text":{"format":{}}"#, "text.format.type"),
        (r#""text":{"format":{"type":"xml"}}"#, "text.format.type"),
        (r#""text":{"format":{"type":"json_schema","schema":{}}}"#, "text.format.name"),
        (r#""text":{"format":{"type":"json_schema","name":"s"}}"#, "text.format.schema"),
        (r#""text":{"format":{"type":"json_schema","name":"s","schema":[]}}"#, "text.format.schema"),
        (r#""text":{"format":{"type":"json_schema","name":"s","schema":{},"strict":1}}"#, "text.format.strict"),
        (r#""text":{"format":{"type":"text","type":"text"}}"#, "text.format.type"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":[{"name":"f"}]"#, "tools[0].type"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].name"),
        (r#""tools":[{"type":"function","function":{"name":"f"}}]"#, "tools[0].name"),
        (r#""tools":[{"type":"function","name":"f","parameters":"x"}]"#, "tools[0].parameters"),
        (r#""tools":[{"type":"function","name":"f","strict":"x"}]"#, "tools[0].strict"),
        (r#""tools":[{"type":"custom","name":"c","description":1}]"#, "tools[0].description"),
        (r#""tools":[{"type":"custom","name":"c","format":{"type":"x"}}]"#, "tools[0].format.type"),
        (
            r#""tools":[{"type":"custom","name":"c","format":{"type":"grammar","syntax":"lark"}}]"#,
            "tools[0].format.definition",
        ),
        (
            r#""tools":[{"type":"custom","name":"c","format":{"type":"grammar","syntax":"x"}}]"#,
            "tools[0].format.syntax",
        ),
        (r#""tool_choice":"required""#, "tool_choice"),
        (r#""tool_choice":5"#, "tool_choice"),
        (r#""tool_choice":"any""#, "tool_choice"),
        (r#""tool_choice":{"type":"function"}"#, "tool_choice.name"),
        (r#""tool_choice":{"type":"allowed_tools","tools":[]}"#, "tool_choice.mode"),
        (r#""tool_choice":{"type":"allowed_tools","mode":"auto"}"#, "tool_choice.tools"),
        (
            r#""tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function"}]}"#,
            "tool_choice.tools[0].name",
        ),
        (r#""metadata":{"a":1}"#, "metadata.a"),
        (r#""service_tier":"slow""#, "service_tier"),
        (r#""provider":{"typo":1}"#, "provider.typo"),
        (r#""models":["a",""]"#, "models[1]"),
        (r#""store":true,"store":true"#, "store"),
        (r#""input":"again""#, "input"),
    ];
    for (fields, param) in cases {
        let invalid = refusal(&with(fields));
        assert_eq!((invalid.param.as_deref(), invalid.code), (Some(param), None), "{fields}: {invalid}");
    }
    let long = with(&format!(r#""safety_identifier":"{}""#, "x".repeat(65)));
    assert_eq!(refusal(&long).param.as_deref(), Some("safety_identifier"));
    let long = with(&format!(r#""tools":[{{"type":"function","name":"{}"}}]"#, "x".repeat(65)));
    assert_eq!(refusal(&long).param.as_deref(), Some("tools[0].name"));
}

#[test]
fn stored_state_and_hosted_tools_are_refused_by_name() {
    assert!(read(with(r#""input2":0,"tools":[],"x":{}"#).as_bytes()).is_ok(), "unknown fields are ignored");
    let cases = [
        (r#""previous_response_id":"resp_1""#, "previous_response_id"),
        (r#""conversation":{"id":"c"}"#, "conversation"),
        (r#""prompt":{"id":"p"}"#, "prompt"),
        (r#""background":true"#, "background"),
        (r#""tools":[{"type":"function","name":"f"},{"type":"web_search"}]"#, "tools[1].type"),
        (r#""tools":[{"type":"mcp","server_label":"x"}]"#, "tools[0].type"),
        (r#""tool_choice":{"type":"file_search"}"#, "tool_choice.type"),
    ];
    for (fields, param) in cases {
        let invalid = refusal(&with(fields));
        assert_eq!((invalid.param.as_deref(), invalid.code), (Some(param), Some("unsupported_parameter")), "{fields}");
    }
    let cases = [
        (r#"{"type":"item_reference","id":"msg_1"}"#, "input[0].type"),
        (r#"{"type":"web_search_call","id":"ws_1","status":"completed"}"#, "input[0].type"),
        (r#"{"role":"user","content":[{"type":"input_image","file_id":"file-1"}]}"#, "input[0].content[0].file_id"),
        (r#"{"role":"user","content":[{"type":"input_file","file_url":"https://x"}]}"#, "input[0].content[0].file_url"),
    ];
    for (item, param) in cases {
        let invalid = refusal(&format!(r#"{{"model":"m","input":[{item}]}}"#));
        assert_eq!((invalid.param.as_deref(), invalid.code), (Some(param), Some("unsupported_parameter")), "{item}");
    }
}

#[test]
fn bodies_are_bounded_and_must_be_json() {
    for body in [&b"\xff"[..], b"", b"[]", b"{\"model\":", b"{} {}", b"\"x\""] {
        assert_eq!(read(body).unwrap_err().param, None);
    }
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(read(with(&format!(r#""unknown":{}"#, nested(127))).as_bytes()).is_ok());
    assert!(read(with(&format!(r#""unknown":{}"#, nested(128))).as_bytes()).is_err());
    let many: Vec<String> = (0..MAX_FIELDS).map(|n| format!("\"f{n}\":0")).collect();
    assert_eq!(refusal(&with(&many.join(","))).param, None);

    let input = |item: &str, count: usize| {
        format!(r#"{{"model":"m","instructions":"i","input":[{}]}}"#, [item].repeat(count).join(","))
    };
    let user = r#"{"role":"user","content":"x"}"#;
    assert_eq!(chat(&input(user, MAX_ITEMS))["messages"].as_array().unwrap().len(), MAX_ITEMS + 1);
    assert_eq!(refusal(&input(user, MAX_ITEMS + 1)).param.as_deref(), Some("input"));
    let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
    assert_eq!(chat(&input(call, MAX_CALLS))["messages"][1]["tool_calls"].as_array().unwrap().len(), MAX_CALLS);
    assert_eq!(refusal(&input(call, MAX_CALLS + 1)).param.as_deref(), Some("input[512]"));
    let tools = [r#"{"type":"function","name":"f"}"#].repeat(MAX_TOOLS + 1).join(",");
    assert_eq!(refusal(&with(&format!(r#""tools":[{tools}]"#))).param.as_deref(), Some("tools"));
}

/// Parameters stand one level deeper in the chat request, whose own reader must not be the one to refuse them.
#[test]
fn parameters_may_nest_as_deep_as_the_chat_request_can() {
    let tool = |levels: usize| {
        let schema = "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        with(&format!(r#""tools":[{{"type":"function","name":"f","parameters":{schema}}}]"#))
    };
    Envelope::parse(&read(tool(124).as_bytes()).unwrap().chat).unwrap();
    assert_eq!(refusal(&tool(125)).param.as_deref(), Some("tools[0].parameters"));
}

#[test]
fn the_object_holds_effective_values_where_the_request_is_silent() {
    let wanted = json!({
        "id": "resp_0198c1f2a3b47c5d8e9f00112233aabb", "object": "response", "created_at": CREATED,
        "status": "in_progress", "completed_at": null, "error": null, "incomplete_details": null,
        "model": "org/name", "output": [], "usage": null, "service_tier": "default", "background": false,
        "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "parallel_tool_calls": true,
        "previous_response_id": null, "prompt_cache_key": null, "reasoning": null, "safety_identifier": null,
        "store": false, "temperature": 1, "text": { "format": { "type": "text" }, "verbosity": "medium" },
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1, "truncation": "disabled",
        "presence_penalty": 0, "frequency_penalty": 0, "metadata": {},
    });
    assert_eq!(object(&with(r#""store":true"#)), wanted);
}

#[test]
fn the_object_repeats_what_was_asked() {
    let fields = r#""instructions":"Be\nbrief.","max_output_tokens":64,"max_tool_calls":2,"parallel_tool_calls":false,
        "prompt_cache_key":"k","reasoning":{"effort":"high"},"safety_identifier":"s","temperature":0.25,"top_logprobs":3,
        "top_p":0.5,"truncation":"auto","presence_penalty":0.5,"frequency_penalty":-0.5,"metadata":{ "a" : "b c" }"#;
    let object = object(&with(fields));
    let asked: Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
    for (key, value) in asked.as_object().unwrap() {
        let wanted = if key == "reasoning" { &json!({ "effort": "high", "summary": null }) } else { value };
        assert_eq!(&object[key], wanted, "{key}");
    }
}
