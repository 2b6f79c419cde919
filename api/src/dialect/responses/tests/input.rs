//! Items of the input: how they become messages, and what is refused.

use super::*;

#[test]
fn parts_become_parts_and_a_lone_text_a_string() {
    let input = r#"[{"role":"user","content":[{"type":"input_text","text":"one"}]},
        {"type":"message","role":"developer","content":"two"},
        {"role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:x","detail":"low"},
            {"type":"input_file","file_data":"data:y","filename":"y.pdf"}]},
        {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[
            {"type":"output_text","text":"a","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"no"}]}]"#;
    let wanted = json!([
        { "role": "user", "content": "one" },
        { "role": "developer", "content": "two" },
        { "role": "user", "content": [{ "type": "text", "text": "see" },
            { "type": "image_url", "image_url": { "url": "data:x", "detail": "low" } },
            { "type": "file", "file": { "file_data": "data:y", "filename": "y.pdf" } }] },
        { "role": "assistant", "content": [{ "type": "text", "text": "a" }, { "type": "refusal", "refusal": "no" }] },
    ]);
    assert_eq!(messages(input), wanted);
}

#[test]
fn the_items_of_one_turn_are_one_message() {
    let input = r#"["#.to_owned()
        + r#"{"role":"user","content":"q"},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],
            "content":[{"type":"reasoning_text","text":"r\n1"},{"type":"reasoning_text","text":"r2"}]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Let me see."}]},
        {"type":"function_call","id":"fc_1","call_id":"call_a","name":"f","arguments":"{}","status":"completed"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"r3"}]},
        {"type":"custom_tool_call","call_id":"call_b","name":"c","input":"x"},
        {"type":"function_call_output","call_id":"call_a","output":"1"},
        {"type":"custom_tool_call_output","call_id":"call_b","output":[{"type":"input_text","text":"2"},{"type":"input_text","text":"3"}]},
        {"type":"function_call","call_id":"call_d","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"call_d","output":[]},
        {"type":"reasoning","summary":[],"encrypted_content":"zzz"},
        {"role":"assistant","content":"Done."},{"role":"assistant","content":"Really."}]"#;
    let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let custom = json!({ "id": "call_b", "type": "custom", "custom": { "name": "c", "input": "x" } });
    let wanted = json!([
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": "Let me see.", "reasoning": "r\n1\n\nr2\n\nr3",
            "reasoning_content": "r\n1\n\nr2\n\nr3", "tool_calls": [call("call_a"), custom] },
        { "role": "tool", "tool_call_id": "call_a", "content": "1" },
        { "role": "tool", "tool_call_id": "call_b",
            "content": [{ "type": "text", "text": "2" }, { "type": "text", "text": "3" }] },
        { "role": "assistant", "content": null, "tool_calls": [call("call_d")] },
        { "role": "tool", "tool_call_id": "call_d", "content": "" },
        { "role": "assistant", "content": "Done." },
        { "role": "assistant", "content": "Really." },
    ]);
    assert_eq!(messages(&input), wanted);
}

#[test]
fn a_turn_that_goes_on_after_its_calls_stays_one_message() {
    let input = r#"[{"type":"message","role":"assistant","content":"a"},{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"r"}]},
        {"type":"function_call","call_id":"call_a","name":"f","arguments":""},{"role":"assistant","content":"b"},
        {"role":"assistant","content":"c"},{"type":"function_call_output","call_id":"call_a","output":"o"}]"#;
    let messages = messages(input);
    assert_eq!(messages.as_array().unwrap().len(), 3);
    assert_eq!(messages[0], json!({ "role": "assistant", "content": "a" }));
    assert_eq!(messages[1]["content"], json!([{ "type": "text", "text": "b" }, { "type": "text", "text": "c" }]));
    assert_eq!((&messages[1]["reasoning"], messages[1]["tool_calls"].as_array().unwrap().len()), (&json!("r"), 1));
}

#[test]
fn refusals_name_the_place_in_the_input() {
    let cases = [
        ("5", "input"),
        ("[]", "input"),
        (r#"[{"type":"reasoning","summary":[]}]"#, "input"),
        (r#"["x"]"#, "input[0]"),
        (r#"[{"content":"x"}]"#, "input[0].role"),
        (r#"[{"role":"tool","content":"x"}]"#, "input[0].role"),
        (r#"[{"role":"user"}]"#, "input[0].content"),
        (r#"[{"role":"user","content":null}]"#, "input[0].content"),
        (r#"[{"role":"user","content":7}]"#, "input[0].content"),
        (r#"[{"role":"user","content":[]}]"#, "input[0].content"),
        (r#"[{"role":"user","content":["x"]}]"#, "input[0].content[0]"),
        (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "input[0].content[0].type"),
        (r#"[{"role":"user","content":[{"type":"text","text":"x"}]}]"#, "input[0].content[0].type"),
        (
            r#"[{"role":"user","content":"a"},{"role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":3}]}]"#,
            "input[1].content[1].text",
        ),
        (r#"[{"role":"user","content":[{"type":"input_text"}]}]"#, "input[0].content[0].text"),
        (r#"[{"role":"user","content":[{"type":"input_image"}]}]"#, "input[0].content[0].image_url"),
        (r#"[{"role":"user","content":[{"type":"input_file","filename":"x"}]}]"#, "input[0].content[0].file_data"),
        (r#"[{"role":"user","role":"user","content":"x"}]"#, "input[0].role"),
        (r#"[{"type":7,"role":"user","content":"x"}]"#, "input[0].type"),
        (r#"[{"type":"function_call","name":"f","arguments":""}]"#, "input[0].call_id"),
        (r#"[{"type":"function_call","call_id":"","name":"f","arguments":""}]"#, "input[0].call_id"),
        (r#"[{"type":"function_call","call_id":"\ud800","name":"f","arguments":""}]"#, "input[0].call_id"),
        (r#"[{"type":"function_call","call_id":"c","arguments":""}]"#, "input[0].name"),
        (r#"[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]"#, "input[0].arguments"),
        (r#"[{"type":"custom_tool_call","call_id":"c","name":"f"}]"#, "input[0].input"),
        (r#"[{"type":"function_call_output","call_id":"c"}]"#, "input[0].output"),
        (r#"[{"type":"function_call_output","call_id":"c","output":{}}]"#, "input[0].output"),
        (r#"[{"type":"function_call_output","output":"x"}]"#, "input[0].call_id"),
        (r#"[{"type":"reasoning","content":"x"}]"#, "input[0].content"),
        (r#"[{"type":"reasoning","content":[{"type":"reasoning_text"}]}]"#, "input[0].content[0].text"),
        (r#"[{"type":"reasoning","summary":[{"type":"summary_text","text":1}]}]"#, "input[0].summary[0].text"),
    ];
    for (input, param) in cases {
        let invalid = refusal(&format!(r#"{{"model":"m","input":{input}}}"#));
        assert_eq!((invalid.param.as_deref(), invalid.code), (Some(param), None), "{input}: {invalid}");
    }
    assert_eq!(refusal(r#"{"model":"m"}"#).param.as_deref(), Some("input"));
    assert_eq!(refusal(r#"{"input":"hi"}"#).param.as_deref(), Some("model"));
}
