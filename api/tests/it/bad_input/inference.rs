//! What models are asked for, in every dialect. Nobody offers the model, so that even the good ones end in 404.

use serde_json::{Value, json};

use super::cast::Cast;
use super::table::{Case, Endpoint};

/// The endpoints of this family.
pub fn table() -> Vec<Endpoint> {
    vec![
        chat(),
        completions(),
        embeddings(),
        responses(),
        messages(),
        count_tokens(),
        moderations(),
        images(),
        speech(),
        heard("/audio/transcriptions"),
        heard("/audio/translations"),
    ]
}

#[tokio::test]
async fn what_no_model_can_be_asked_is_refused_by_its_field_and_costs_nothing() {
    Cast::start().await.play(&table()).await;
}

fn turn() -> Value {
    json!([{ "role": "user", "content": "hello" }])
}

fn many(count: usize) -> Value {
    json!(vec!["a"; count])
}

fn pairs(count: usize) -> Value {
    (0..count).map(|at| (at.to_string(), json!("value"))).collect::<serde_json::Map<_, _>>().into()
}

/// Fields that mean the same wherever they may stand.
fn shared(endpoint: Endpoint) -> Endpoint {
    endpoint
        .refuses("model", [json!(5), json!(""), json!("x".repeat(257)), json!(["org/name"])])
        .refuses("models", [json!("org/name"), json!(vec!["org/name"; 17])])
        .refuses_for("models[0]", "models", json!([5]))
        .refuses("provider", [json!(5), json!([])])
        .refuses_for("provider.sort_by", "provider", json!({ "sort_by": "price" }))
        .refuses_for("provider.order", "provider", json!({ "order": "acme" }))
        .refuses_for("provider.quantizations[0]", "provider", json!({ "quantizations": ["fp3"] }))
        .refuses_for("provider.max_price.prompt", "provider", json!({ "max_price": { "prompt": -1 } }))
}

/// Fields of what engines write.
fn sampled(endpoint: Endpoint) -> Endpoint {
    shared(endpoint)
        .refuses("stream", [json!("yes"), json!(1)])
        .refuses("temperature", [json!(2.1), json!(-0.1), json!("warm")])
        .refuses("top_p", [json!(-0.1), json!(1.1), json!("all")])
        .refuses("metadata", [json!("a"), pairs(17), json!({ ("k".repeat(65)): "value" })])
        .refuses_for("metadata.key", "metadata", json!({ "key": 5 }))
        .refuses_for("metadata.key", "metadata", json!({ "key": "v".repeat(513) }))
        .refuses("user", [json!(5)])
        .refuses("service_tier", [json!("gold"), json!(5)])
        .refuses("safety_identifier", [json!("x".repeat(65)), json!(5)])
}

fn chat() -> Endpoint {
    let good = json!({ "model": "org/name", "messages": turn() });
    sampled(Endpoint::post("/chat/completions", good, 404))
        .needs(&["model", "messages"])
        .refuses("messages", [json!({}), json!([]), json!("hello")])
        .refuses("messages[0]", [json!(5), json!("hello")])
        .refuses("messages[0].role", [json!("nobody"), json!(5), Value::Null])
        .refuses("messages[0].content", [json!(5), json!({})])
        .refuses_for("messages[0].content[0].type", "messages[0].content", json!([{ "type": "smell" }]))
        .refuses_for("messages[0].content[0].text", "messages[0].content", json!([{ "type": "text", "text": 5 }]))
        .refuses("max_tokens", [json!(0), json!(-1), json!(1.5), json!("many"), json!(1_u64 << 32)])
        .refuses("max_completion_tokens", [json!(0), json!("many")])
        .refuses("n", [json!(0), json!(129), json!(1.5)])
        .refuses("seed", [json!(1.5), json!("random")])
        .refuses("presence_penalty", [json!(2.1), json!(-2.1)])
        .refuses("frequency_penalty", [json!(2.1), json!("some")])
        .refuses("repetition_penalty", [json!(-0.1)])
        .refuses("top_k", [json!(-2), json!(0.5)])
        .refuses("min_p", [json!(1.1)])
        .refuses("logprobs", [json!(1)])
        .refuses("top_logprobs", [json!(21), json!(-1), json!(2)])
        .refuses("stop", [many(5), json!(5)])
        .refuses_for("stop[0]", "stop", json!([5]))
        .refuses_for("logit_bias.5", "logit_bias", json!({ "5": 101 }))
        .refuses("logit_bias", [json!([])])
        .refuses("reasoning_effort", [json!("heroic")])
        .refuses("verbosity", [json!("chatty")])
        .refuses_for("response_format.type", "response_format", json!({ "type": "xml" }))
        .refuses("response_format", [json!("text")])
        .refuses("stream_options", [json!({ "include_usage": true })])
        .refuses("tools", [json!("f"), json!({})])
        .refuses_for("tools[0].type", "tools", json!([{ "type": "hammer" }]))
        .refuses("tool_choice", [json!("auto")])
        .refuses("parallel_tool_calls", [json!("no")])
        .refuses("store", [json!("no")])
}

fn completions() -> Endpoint {
    let good = json!({ "model": "org/name", "prompt": "hello" });
    sampled(Endpoint::post("/completions", good, 404))
        .needs(&["model", "prompt"])
        .refuses("prompt", [json!(5), json!({}), json!([]), json!(""), many(129)])
        .refuses_for("prompt[0]", "prompt", json!([""]))
        .refuses_for("prompt[1]", "prompt", json!(["a", 5]))
        .refuses_for("prompt[0]", "prompt", json!([-1]))
        .refuses("max_tokens", [json!(0), json!("many")])
        .refuses("n", [json!(0), json!(129)])
        .refuses("best_of", [json!(3), json!(0)])
        .refuses("logprobs", [json!(6), json!(true)])
        .refuses("echo", [json!("yes")])
        .refuses("suffix", [json!("the end")])
        .refuses("stop", [many(5)])
}

fn embeddings() -> Endpoint {
    let good = json!({ "model": "org/name", "input": "hello" });
    shared(Endpoint::post("/embeddings", good, 404))
        .needs(&["model", "input"])
        .refuses("input", [json!(5), json!({}), json!([]), json!(""), many(2_049)])
        .refuses_for("input[0]", "input", json!([[]]))
        .refuses_for("input[1]", "input", json!(["a", {}]))
        .refuses("dimensions", [json!(0), json!("many"), json!(1.5)])
        .refuses("encoding_format", [json!("hex"), json!(5)])
        .refuses("user", [json!(5)])
}

fn responses() -> Endpoint {
    let good = json!({ "model": "org/name", "input": "hello" });
    sampled(Endpoint::post("/responses", good, 404))
        .needs(&["model", "input"])
        .refuses("input", [json!(5), json!({})])
        .refuses_for("input[0].type", "input", json!([{ "type": "gesture" }]))
        .refuses_for("input[0].content", "input", json!([{ "role": "user", "content": 5 }]))
        .refuses("instructions", [json!(5)])
        .refuses("max_output_tokens", [json!(15), json!("many"), json!(-1)])
        .refuses("max_tool_calls", [json!(0)])
        .refuses("top_logprobs", [json!(21)])
        .refuses("truncation", [json!("maybe")])
        .refuses("include", [json!("all")])
        .refuses_for("include[0]", "include", json!(["everything"]))
        .refuses_for("reasoning.effort", "reasoning", json!({ "effort": "heroic" }))
        .refuses("background", [json!(true), json!("no")])
        .refuses("previous_response_id", [json!("resp_1")])
        .refuses("conversation", [json!("conv_1")])
        .refuses("tools", [json!("f")])
        .refuses_for("tools[0].type", "tools", json!([{ "type": "web_search" }]))
}

/// What both of Anthropic's endpoints take.
fn anthropic(endpoint: Endpoint) -> Endpoint {
    shared(endpoint)
        .refuses("messages", [json!({}), json!([]), json!("hello")])
        .refuses("messages[0].role", [json!("nobody"), json!(5)])
        .refuses("messages[0].content", [json!(5)])
        .refuses("system", [json!(5)])
        .refuses("temperature", [json!(1.1), json!("warm")])
        .refuses("top_k", [json!(-1)])
        .refuses("stop_sequences", [many(5), json!("a")])
        .refuses("stream", [json!("yes")])
        .refuses("tools", [json!("f")])
        .refuses("tool_choice", [json!({ "type": "any" })])
        .refuses_for("metadata.user_id", "metadata", json!({ "user_id": "x".repeat(513) }))
        .refuses("service_tier", [json!("gold")])
        .refuses("thinking", [json!("hard")])
}

fn messages() -> Endpoint {
    let good = json!({ "model": "org/name", "max_tokens": 5, "messages": turn() });
    anthropic(Endpoint::post("/messages", good, 404))
        .needs(&["model", "max_tokens", "messages"])
        .refuses("max_tokens", [json!(0), json!("many"), json!(1.5)])
}

fn count_tokens() -> Endpoint {
    let good = json!({ "model": "org/name", "messages": turn() });
    anthropic(Endpoint::post("/messages/count_tokens", good, 404)).needs(&["model", "messages"])
}

fn moderations() -> Endpoint {
    let good = json!({ "model": "org/name", "input": "hello" });
    shared(Endpoint::post("/moderations", good, 404))
        .needs(&["model", "input"])
        .refuses("input", [json!(5), json!({}), json!([]), json!(""), many(2_049)])
        .refuses_for("input[1]", "input", json!(["a", {}]))
        .refuses_for("input[0]", "input", json!([{}]))
        .refuses_for("input[0].text", "input", json!([{ "type": "text", "text": 5 }]))
        .refuses_for("input[1]", "input", json!([{ "type": "text", "text": "a" }, "b"]))
        .refuses("user", [json!(5)])
}

fn images() -> Endpoint {
    let good = json!({ "model": "org/name", "prompt": "a balance" });
    shared(Endpoint::post("/images/generations", good, 404))
        .needs(&["model", "prompt"])
        .refuses("prompt", [json!(5), json!({}), json!([]), json!(""), json!(["a"])])
        .refuses("n", [json!(0), json!(11), json!(1.5), json!("two")])
        .refuses("stream", [json!(true), json!("yes")])
        .refuses_for("provider.max_price.image", "provider", json!({ "max_price": { "image": -1 } }))
}

fn speech() -> Endpoint {
    let good = json!({ "model": "org/name", "input": "hello", "voice": "alloy" });
    shared(Endpoint::post("/audio/speech", good, 404))
        .needs(&["model", "input"])
        .refuses("input", [json!(5), json!({}), json!(""), json!(["a"])])
        .refuses("stream", [json!(true), json!("yes")])
        .refuses("stream_format", [json!("sse"), json!(5)])
}

/// What takes a sound takes a form, and no JSON.
fn heard(route: &'static str) -> Endpoint {
    const FILE: (&str, &str) = ("file\"; filename=\"a.wav", "RIFF");
    const MODEL: (&str, &str) = ("model", "org/name");
    let sent = |what: &str, body: String, param: Option<&str>| Case {
        headers: vec![("content-type", "multipart/form-data; boundary=b1")],
        ..Case::invalid(what, body, param)
    };
    let refused = |what: &str, parts: &[(&str, &str)], param: &str| sent(what, form(parts), Some(param));
    let typed = |kind: &'static str| Case {
        headers: vec![("content-type", kind)],
        status: 415,
        ..sent(kind, form(&[FILE, MODEL]), None)
    };
    let long = "x".repeat(257);
    let mut packed = typed("gzip");
    packed.headers = vec![("content-type", "multipart/form-data; boundary=b1"), ("content-encoding", "gzip")];
    let mut endless = Case { status: 413, ..sent("too long", String::new(), None) };
    endless.headers.push(("content-length", "99999999999"));
    Endpoint::foreign(route, json!({ "model": "org/name" }), 415)
        .case(refused("no file", &[MODEL], "file"))
        .case(refused("two files", &[FILE, FILE, MODEL], "file"))
        .case(refused("no model", &[FILE], "model"))
        .case(refused("an empty model", &[FILE, ("model", "")], "model"))
        .case(refused("a long model", &[FILE, ("model", &long)], "model"))
        .case(refused("two models", &[FILE, MODEL, MODEL], "model"))
        .case(refused("a stream", &[FILE, MODEL, ("stream", "true")], "stream"))
        .case(refused("a demand in no JSON", &[FILE, MODEL, ("provider", "zdr")], "provider"))
        .case(refused("a demand that is no object", &[FILE, MODEL, ("provider", "[]")], "provider"))
        .case(refused("an unknown demand", &[FILE, MODEL, ("provider", "{\"zrd\":true}")], "provider.zrd"))
        .case(sent("half a form", form(&[FILE, MODEL]).replace("--b1--", ""), None))
        .case(sent("no form", "hello".to_owned(), None))
        .case(sent("nothing", String::new(), None))
        .case(typed("application/json"))
        .case(typed("text/plain"))
        .case(typed(""))
        .case(packed)
        .case(endless)
}

fn form(parts: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--b1--\r\n"
}
