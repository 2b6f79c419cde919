//! Requests with tools, written as requests without.

use serde_json::{Value, json};

use super::*;

const WEATHER: &str = r#"{"type":"function","function":{"name":"weather","description":"Tells it.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}"#;
const TIME: &str = r#"{"type":"function","function":{"name":"time"}}"#;

/// A request with these messages and fields.
fn asked(messages: &str, fields: &str) -> String {
    format!(r#"{{"model":"org/name","messages":{messages},{fields}}}"#)
}

fn hello(fields: &str) -> String {
    asked(r#"[{"role":"user", "content":"hello"}]"#, fields)
}

fn emulated(body: &str) -> (Value, Expected) {
    let emulated = Emulated::of(&Envelope::parse(body.as_bytes()).unwrap()).unwrap();
    (serde_json::from_slice(&emulated.body).unwrap(), emulated.expected)
}

fn refusal(body: &str) -> (String, Option<&'static str>) {
    let bad = Emulated::of(&Envelope::parse(body.as_bytes()).unwrap()).unwrap_err();
    (bad.param.unwrap(), bad.code)
}

#[test]
fn the_only_function_binds_the_answer_to_its_arguments() {
    for choice in [r#""required""#, r#"{"type":"function","function":{"name":"weather"}}"#] {
        let fields = format!(
            r#""tools":[{WEATHER}],"tool_choice":{choice},"parallel_tool_calls":false,"temperature":0.50,"stop":"x","stream":true"#
        );
        let body = hello(&fields);
        let Emulated { body, expected } = Emulated::of(&Envelope::parse(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(expected, Expected::Arguments("weather".into()));
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            concat!(
                r#"{"messages":[{"role":"system","content":"You have these functions, each with a JSON schema of its arguments:\n"#,
                r#"{\"name\":\"weather\",\"description\":\"Tells it.\",\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]}}\n"#,
                r#"Call weather now: answer with the JSON object of its arguments and nothing else."},{"role":"user", "content":"hello"}],"#,
                r#""model":"org/name","temperature":0.50,"stream":true,"response_format":{"type":"json_schema","json_schema":{"name":"call","strict":true,"#,
                r#""schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}}"#,
            )
        );
    }
}

#[test]
fn several_functions_bind_it_to_a_call_of_one_with_its_name_first() {
    let (body, expected) = emulated(&hello(&format!(r#""tools":[{WEATHER},{TIME}],"tool_choice":"required""#)));
    let names = || ["weather".to_owned(), "time".to_owned()].into();
    assert_eq!(expected, Expected::Call { names: names(), words: false });
    let form = |name: &str, at: &str| {
        json!({ "type": "object", "properties": { "name": { "const": name }, "arguments": { "$ref": format!("#/$defs/{at}") } },
                "required": ["name", "arguments"], "additionalProperties": false })
    };
    let schema = &body["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["anyOf"], json!([form("weather", "f0"), form("time", "f1")]));
    assert_eq!(schema["$defs"]["f1"], json!({ "type": "object", "properties": {}, "additionalProperties": false }));

    let (body, expected) = emulated(&hello(&format!(r#""tools":[{WEATHER},{TIME}]"#)));
    assert_eq!(expected, Expected::Call { names: names(), words: true });
    let forms = body["response_format"]["json_schema"]["schema"]["anyOf"].as_array().unwrap();
    assert_eq!(forms[2]["required"], json!(["reply"]));
    assert!(
        body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .ends_with("To answer in words, write {\"reply\": your answer}.")
    );
}

#[test]
fn a_choice_among_tools_leaves_the_others_out() {
    let allowed = |mode: &str| {
        let named = r#"{"type":"function","function":{"name":"time"}}"#;
        let choice = format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{named}]}}}}"#);
        emulated(&hello(&format!(r#""tools":[{WEATHER},{TIME}],"tool_choice":{choice}"#))).1
    };
    assert_eq!(allowed("required"), Expected::Arguments("time".into()));
    assert_eq!(allowed("auto"), Expected::Call { names: ["time".to_owned()].into(), words: true });
    let fields =
        format!(r#""tools":[{WEATHER}],"tool_choice":"none","stop":["x"],"response_format":{{"type":"json_object"}}"#);
    let (body, expected) = emulated(&hello(&fields));
    assert_eq!(expected, Expected::Text);
    let left = json!({ "model": "org/name", "messages": [{ "role": "user", "content": "hello" }], "stop": ["x"],
                       "response_format": { "type": "json_object" } });
    assert_eq!(body, left);
}

#[test]
fn references_inside_a_schema_follow_it_to_its_new_place() {
    let tool = r##"{"type":"function","function":{"name":"f","parameters":{"type":"object","z":[],"properties":{
        "b":{"$ref":"#/$defs/x"},"a":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"$defs":{"x":{"type":"string"}}}}}"##;
    let body = hello(&format!(r#""tools":[{tool},{TIME}],"tool_choice":"required""#));
    let emulated = Emulated::of(&Envelope::parse(body.as_bytes()).unwrap()).unwrap();
    let text = std::str::from_utf8(&emulated.body).unwrap();
    let moved = r##""f0":{"type":"object","z":[],"properties":{"b":{"$ref":"#/$defs/f0/$defs/x"},"a":{"anyOf":[{"$ref":"#/$defs/f0"},{"type":"null"}]}},"$defs":{"x":{"type":"string"}}}"##;
    assert!(text.contains(moved), "{text}");
}

#[test]
fn calls_and_what_they_returned_are_told_as_text() {
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let messages = json!([
        { "role": "developer", "content": [{ "type": "text", "text": "Be brief." }, { "type": "text", "text": "Be kind." }] },
        { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:," } }] },
        { "role": "assistant", "content": "Let me see.", "tool_calls": [call("a", "weather", "{\"city\": \"Paris\"}"), call("b", "time", "never")] },
        { "role": "tool", "tool_call_id": "b", "content": "noon" },
        { "role": "tool", "tool_call_id": "a", "content": [{ "type": "text", "text": "sunny" }] },
        { "role": "assistant", "content": null, "function_call": { "name": "time", "arguments": "{}" } },
        { "role": "function", "name": "time", "content": "one" },
        { "role": "user", "content": "thanks" },
    ]);
    let (body, _) = emulated(&asked(&messages.to_string(), &format!(r#""tools":[{TIME}],"tool_choice":"required""#)));
    let told = body["messages"].as_array().unwrap();
    let system = "Be brief.\n\nBe kind.\n\nYou have these functions, each with a JSON schema of its arguments:\n\
                  {\"name\":\"time\",\"parameters\":{}}\n\
                  Call time now: answer with the JSON object of its arguments and nothing else.";
    assert_eq!(told[0], json!({ "role": "developer", "content": system }));
    assert_eq!(told[1], messages[1]);
    let calls = "Let me see.\n{\"name\":\"weather\",\"arguments\":{\"city\": \"Paris\"}}\n{\"name\":\"time\",\"arguments\":\"never\"}";
    assert_eq!(told[2], json!({ "role": "assistant", "content": calls }));
    assert_eq!(told[3], json!({ "role": "user", "content": "time returned: noon\nweather returned: sunny" }));
    assert_eq!(told[4], json!({ "role": "assistant", "content": "{\"name\":\"time\",\"arguments\":{}}" }));
    assert_eq!(told[5], json!({ "role": "user", "content": "time returned: one" }));
    assert_eq!((&told[6], told.len()), (&messages[7], 7));
}

#[test]
fn what_can_not_be_honoured_is_refused_by_name() {
    let strict = |parameters: &str| {
        format!(
            r#""tools":[{TIME},{{"type":"function","function":{{"name":"f","strict":true,"parameters":{parameters}}}}}]"#
        )
    };
    let tools = format!(r#""tools":[{WEATHER},{TIME}]"#);
    let with = |more: &str| format!("{tools},{more}");
    let unsupported = Some("unsupported_parameter");
    let invalid = Some("invalid_value");
    let parameters = "tools[1].function.parameters";
    for (fields, param, code) in [
        (with(r#""stop":"x""#), "stop", unsupported),
        (with(r#""logprobs":true,"tool_choice":"required""#), "logprobs", unsupported),
        (with(r#""response_format":{"type":"json_object"}"#), "response_format", unsupported),
        (r#""functions":[{"name":"f"}]"#.to_owned(), "functions", unsupported),
        (r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#.to_owned(), "tools[0].type", unsupported),
        (format!(r#""tools":[{TIME},{TIME}]"#), "tools[1].function.name", None),
        (with(r#""tool_choice":{"type":"function","function":{"name":"absent"}}"#), "tool_choice.function.name", None),
        (
            with(r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"any"}}"#),
            "tool_choice.allowed_tools.mode",
            None,
        ),
        (
            with(r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto"}}"#),
            "tool_choice.allowed_tools.tools",
            None,
        ),
        (strict(r#"{"type":"array"}"#), "tools[1].function.parameters.type", None),
        (strict(r#"{"type":"object","properties":{}}"#), parameters, invalid),
        (strict(r#"{"type":"object","properties":{"a":{}},"additionalProperties":false}"#), parameters, invalid),
        (
            strict(r#"{"properties":{"a":{"items":{"properties":{}}}},"required":["a"],"additionalProperties":false}"#),
            "tools[1].function.parameters.properties.a.items",
            invalid,
        ),
    ] {
        assert_eq!(refusal(&hello(&fields)), (param.to_owned(), code), "{fields}");
    }
    // The same schema is fine where nothing is promised of it.
    emulated(&hello(
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{}}}}}]"#,
    ));
}

#[test]
fn a_schema_that_would_stand_too_deep_is_refused() {
    let nested = |levels: usize| {
        let schema = r#"{"items":"#.repeat(levels) + "{}" + &"}".repeat(levels);
        let tool = format!(r#"{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}"#);
        hello(&format!(r#""tools":[{tool},{TIME}]"#))
    };
    emulated(&nested(100));
    assert_eq!(refusal(&nested(123)).0, "tools");
}
