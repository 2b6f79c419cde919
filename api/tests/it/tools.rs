//! Tools on offers whose engines have none: calls read out of answers that follow a schema.

use http::Method;
use node::config::OfferConfig;
use protocol::Price;
use serde_json::{Value, json};

use crate::live::{Frame, Live, MODEL, Setup, chat_body, content, finish};
use crate::support::Reply;

/// What the simulated engine makes of a function's `city`.
const CITY: &str = "simulated \"text\"\n";

fn function(name: &str) -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    json!({ "type": "function", "function": { "name": name, "description": "Tells it.", "parameters": parameters } })
}

/// Both functions, or the first, with these fields besides.
fn tools(count: usize, more: Value) -> Value {
    let functions: Vec<Value> = ["weather", "time"][..count].iter().map(|name| function(name)).collect();
    let mut fields = json!({ "tools": functions, "seed": 0 });
    more.as_object().unwrap().iter().for_each(|(name, value)| fields[name] = value.clone());
    fields
}

/// The only call of an answer: its name and its arguments.
fn call(reply: &Reply) -> (String, Value) {
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    let choice = &reply.json["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let [call] = choice["message"]["tool_calls"].as_array().unwrap().as_slice() else { panic!("{choice}") };
    let arguments = call["function"]["arguments"].as_str().unwrap();
    (call["function"]["name"].as_str().unwrap().to_owned(), serde_json::from_str(arguments).unwrap())
}

/// Starts a node whose engine has tools of its own, of the provider made of `seed`.
async fn launch_native(live: &mut Live, seed: u8) {
    let price = |usd| Price::per_million(usd).unwrap();
    let parameters = ["tools", "tool_choice", "max_tokens"].map(str::to_owned).to_vec();
    let offer =
        OfferConfig { supported_parameters: Some(parameters), ..OfferConfig::new(MODEL, price("1"), price("10")) };
    live.launch_offer(seed, &Setup::nodes(1), offer).await;
    live.until_ready(&Setup::nodes(1)).await;
}

#[tokio::test]
async fn a_required_tool_is_called_on_an_engine_that_has_none_and_all_it_wrote_is_billed() {
    let live = Live::start().await;
    let named = json!({ "type": "function", "function": { "name": "time" } });
    for (count, choice, name) in
        [(1, json!("required"), "weather"), (2, named, "time"), (2, json!("required"), "weather")]
    {
        let fields = tools(count, json!({ "tool_choice": choice, "parallel_tool_calls": true }));
        let body = chat_body(fields).to_string();
        let headers = [("x-steelyard-metadata", "enabled")];
        let wire = live.call_with(Method::POST, "/v1/chat/completions", Some(&live.key), &headers, body).await;
        let request = wire.request();
        let record: Value = serde_json::from_str(wire.header("x-steelyard-metadata").unwrap()).unwrap();
        assert_eq!(record["attempts"][0]["tools_emulated"], true, "{record}");
        let reply = wire.reply().await;
        assert_eq!(call(&reply), (name.to_owned(), json!({ "city": CITY })));
        let billed = live.billed(request).await;
        // The simulated engine's tokens are four letters long; the wrapper around the arguments is among them.
        let wrapped =
            if name == "weather" && count == 2 { r#"{"name": "weather", "arguments": "#.len() + 1 } else { 0 };
        let letters = r#"{"city": "simulated \"text\"\n"}"#.len() + wrapped;
        assert_eq!((billed.outcome.as_str(), billed.completion), ("completed", letters.div_ceil(4) as i64));
        assert_eq!(reply.json["usage"]["completion_tokens"], billed.completion);
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_streamed_call_comes_in_fragments_and_opens_once() {
    let live = Live::start().await;
    let (_, frames) = live.told(tools(2, json!({ "tool_choice": "required" }))).await;
    let fragments: Vec<Value> = frames
        .iter()
        .map(|frame| frame.json()["choices"][0]["delta"]["tool_calls"][0].clone())
        .filter(|fragment| !fragment.is_null())
        .collect();
    let (opening, rest) = fragments.split_first().unwrap();
    assert_eq!((&opening["type"], &opening["function"]["name"]), (&json!("function"), &json!("weather")));
    assert!(opening["id"].as_str().unwrap().starts_with("call_"));
    assert!(rest.len() > 3 && rest.iter().all(|fragment| fragment.get("id").is_none()), "{rest:?}");
    let arguments: String = rest.iter().map(|fragment| fragment["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({ "city": CITY }));
    assert_eq!((finish(&frames), content(&frames, 0)), (vec!["tool_calls".to_owned()], String::new()));
    live.books_add_up().await;
}

#[tokio::test]
async fn where_a_call_is_free_the_model_may_answer_in_words() {
    let live = Live::start().await;
    // The seed picks among the forms an answer may have: the first function, the second, words.
    let asked = async |seed: u64| live.chat(tools(2, json!({ "seed": seed }))).await.reply().await;
    assert_eq!((call(&asked(0).await).0, call(&asked(1).await).0), ("weather".to_owned(), "time".to_owned()));
    let words = asked(2).await;
    let message = &words.json["choices"][0]["message"];
    assert_eq!((&message["content"], message.get("tool_calls")), (&json!(CITY), None));
    assert_eq!(words.json["choices"][0]["finish_reason"], "stop");
    let (_, frames) = live.told(tools(2, json!({ "seed": 2 }))).await;
    assert_eq!((content(&frames, 0).as_str(), finish(&frames)), (CITY, vec!["stop".to_owned()]));
    let none = live.chat(tools(2, json!({ "tool_choice": "none" }))).await.reply().await;
    assert_eq!(none.json["choices"][0]["message"]["content"], "This answer is simulated: no model ran");
}

#[tokio::test]
async fn responses_and_messages_have_their_own_words_for_such_a_call() {
    let live = Live::start().await;
    let post = async |path: &str, body: Value| live.call(Method::POST, path, Some(&live.key), body.to_string()).await;
    let tool = &function("weather")["function"];
    let flat = json!([{ "type": "function", "name": "weather", "parameters": tool["parameters"] }]);
    let asked = json!({ "model": MODEL, "input": "hello", "tools": flat, "tool_choice": "required" });
    let response = post("/v1/responses", asked).await.reply().await;
    let item = &response.json["output"][0];
    assert_eq!((&item["type"], &item["name"]), (&json!("function_call"), &json!("weather")), "{}", response.json);

    let tools = json!([{ "name": "weather", "input_schema": tool["parameters"] }]);
    let conversation = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }], "tools": tools });
    let counted = post("/v1/messages/count_tokens", conversation.clone()).await.reply().await;
    let mut asked = conversation;
    (asked["max_tokens"], asked["tool_choice"]) = (json!(64), json!({ "type": "any" }));
    let message = post("/v1/messages", asked.clone()).await.reply().await;
    let block = &message.json["content"][0];
    assert_eq!((&block["type"], &block["input"]), (&json!("tool_use"), &json!({ "city": CITY })), "{}", message.json);
    assert_eq!(message.json["stop_reason"], "tool_use");
    // The tools are in the prompt, where they are counted.
    let plain = json!({ "model": MODEL, "messages": asked["messages"] });
    let bare = post("/v1/messages/count_tokens", plain).await.reply().await;
    let tokens = |reply: &Reply| reply.json["input_tokens"].as_u64().unwrap();
    assert!(tokens(&counted) > tokens(&bare) + 50, "{} {}", counted.json, bare.json);
    asked["stream"] = true.into();
    let frames: Vec<Frame> = post("/v1/messages", asked).await.frames().await;
    assert!(frames.iter().any(|frame| frame.text.contains("input_json_delta")), "{frames:?}");
    live.books_add_up().await;
}

#[tokio::test]
async fn an_offer_says_that_its_tools_are_emulated_and_one_that_has_its_own_goes_first() {
    let mut live = Live::start().await;
    let names = async |live: &Live, path: &str| {
        let reply = live.call(Method::GET, path, Some(&live.key), "").await.reply().await;
        reply.json["data"]["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["supported_parameters"].clone())
            .collect::<Vec<_>>()
    };
    let path = format!("/v1/models/{MODEL}/endpoints");
    let has = |list: &Value, name: &str| list.as_array().unwrap().contains(&json!(name));
    let listed = names(&live, &path).await;
    assert!(has(&listed[0], "tools_emulated") && !has(&listed[0], "tools"), "{listed:?}");

    let demanding = json!({ "tool_choice": "required", "provider": { "require_parameters": true } });
    let refused = live.chat(tools(1, demanding)).await.reply().await;
    assert_eq!((refused.status.as_u16(), refused.code()), (404, Some("no_eligible_provider")), "{}", refused.json);
    assert_eq!(refused.json["error"]["availability"]["excluded_by"], json!(["require_parameters"]));

    launch_native(&mut live, 2).await;
    assert!(names(&live, &path).await.iter().any(|list| has(list, "tools") && !has(list, "tools_emulated")));
    for _ in 0..4 {
        let body = chat_body(tools(1, json!({ "tool_choice": "required", "stop": "x" }))).to_string();
        let headers = [("x-steelyard-metadata", "enabled")];
        let wire = live.call_with(Method::POST, "/v1/chat/completions", Some(&live.key), &headers, body).await;
        let record: Value = serde_json::from_str(wire.header("x-steelyard-metadata").unwrap()).unwrap();
        assert_eq!(
            record["attempts"][0],
            json!({ "provider": "provider-2", "status": "answering",
            "elapsed_ms": record["attempts"][0]["elapsed_ms"], "first_content_ms": record["attempts"][0]["first_content_ms"] })
        );
        // The simulated engine's own tools are none, and what it says is passed on as it is.
        assert!(wire.reply().await.json["choices"][0]["message"]["content"].is_string());
    }
    let only = json!({ "tool_choice": "required", "provider": { "only": ["provider-1"] } });
    assert_eq!(call(&live.chat(tools(1, only)).await.reply().await).0, "weather");
}

#[tokio::test]
async fn what_emulation_can_not_honour_is_refused_by_name_unless_an_engine_with_tools_can() {
    let mut live = Live::start().await;
    let strict =
        json!({ "type": "function", "function": { "name": "f", "strict": true, "parameters": { "properties": {} } } });
    let (stop, tools_strict) = (tools(1, json!({ "stop": "x" })), json!({ "tools": [strict] }));
    for (fields, param, code) in [
        (stop.clone(), "stop", "unsupported_parameter"),
        (tools_strict, "tools[0].function.parameters", "invalid_value"),
    ] {
        let refused = live.chat(fields).await.reply().await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, Some(code)), "{}", refused.json);
        assert_eq!(refused.json["error"]["param"], param);
    }
    launch_native(&mut live, 2).await;
    let served = live.chat(stop).await.reply().await;
    assert_eq!(served.status.as_u16(), 200, "{}", served.json);
}
