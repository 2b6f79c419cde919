#![allow(clippy::unwrap_used)]

use super::*;

const HELLO: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

fn with(fields: &str) -> String {
    format!(r#"{{"model":"org/name",{HELLO}{}{fields}}}"#, if fields.is_empty() { "" } else { "," })
}

fn refusal(body: &str) -> Invalid {
    Envelope::parse(body.as_bytes()).expect_err(body)
}

#[test]
fn a_small_request_has_the_documented_defaults() {
    let body = with("");
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert_eq!((envelope.model.as_ref(), envelope.suffix), ("org/name", None));
    assert_eq!((envelope.stream, envelope.include_usage, envelope.n), (false, false, 1));
    assert_eq!((envelope.max_tokens, envelope.seed, envelope.has_tools), (None, None, false));
    let Subject::Messages(messages) = envelope.subject else { panic!("a chat has messages") };
    assert_eq!((messages, envelope.choices()), (r#"[{"role":"user","content":"hi"}]"#, 1));
    assert_eq!(envelope.provider, ProviderPrefs::default());
    assert!(envelope.parameters.is_empty() && envelope.models.is_empty());
}

#[test]
fn what_routing_and_money_need_is_found() {
    let body = with(
        r#""stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":7,"n":3,"seed":-4,
        "temperature":0.5,"logprobs":true,"top_logprobs":2,"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{}}},
        "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"tool_choice":"auto","models":["a:free","b/c"],
        "prompt_cache_key":"k","chat_template_kwargs":{"x":1},"unknown":{"deep":[1]},"stop":null"#,
    );
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert!(envelope.stream && envelope.include_usage && envelope.logprobs && envelope.has_tools);
    assert_eq!((envelope.max_tokens, envelope.n, envelope.seed), (Some(7), 3, Some(-4)));
    assert_eq!(envelope.format, Format::JsonSchema);
    assert_eq!(envelope.models[0], ModelRef { id: "a".into(), suffix: Some(Suffix::Free) });
    assert_eq!(envelope.models[1], ModelRef { id: "b/c".into(), suffix: None });
    let parameters =
        "max_tokens seed temperature logprobs top_logprobs response_format tools tool_choice chat_template_kwargs";
    assert_eq!(envelope.parameters.join(" "), parameters);
    assert_eq!(envelope.template_kwargs, Some(r#"{"x":1}"#));
    assert_eq!(envelope.raw("unknown"), Some(r#"{"deep":[1]}"#));
}

#[test]
fn suffixes_are_split_off_except_from_fine_tuned_models() {
    let cases = [
        ("a/b:nitro", "a/b", Some(Suffix::Nitro)),
        ("a/b:floor", "a/b", Some(Suffix::Floor)),
        ("a:b:free", "a:b", Some(Suffix::Free)),
        ("a/b:other", "a/b:other", None),
        ("ft:base:org:free", "ft:base:org:free", None),
        ("nitro", "nitro", None),
    ];
    for (sent, id, suffix) in cases {
        let borrowed = ModelRef::parse(Cow::Borrowed(sent));
        assert_eq!((borrowed.id.as_ref(), borrowed.suffix), (id, suffix));
        assert_eq!(ModelRef::parse(Cow::Owned(sent.to_owned())), borrowed);
    }
}

#[test]
fn routing_wishes_are_read_whole() {
    let body = with(
        r#""provider":{"order":["acme","beta/eu"],"only":["acme"],"ignore":["x"],"allow_fallbacks":false,"require_parameters":true,
        "data_collection":"deny","zdr":true,"quantizations":["fp8"],"sort":{"by":"latency","partition":"none"},
        "preferred_min_throughput":50,"preferred_max_latency":{"p50":0.5,"p99":2},"max_price":{"prompt":0.5,"completion":"1.5","request":0.01},
        "regions":["eu"],"trust":"audited"}"#,
    );
    let prefs = Envelope::parse(body.as_bytes()).unwrap().provider;
    assert_eq!(prefs.order[1], ProviderRef { slug: "beta".to_owned(), region: Some("eu".to_owned()) });
    assert_eq!(
        (prefs.only.len(), prefs.ignore.len(), prefs.allow_fallbacks, prefs.require_parameters),
        (1, 1, false, true)
    );
    assert_eq!(
        (prefs.data_collection, prefs.zdr, prefs.trust),
        (Some(DataCollection::Deny), true, Some(Trust::Audited))
    );
    assert_eq!(prefs.sort, Some(Sort { by: SortBy::Latency, partition: Partition::None }));
    assert_eq!(prefs.preferred_min_throughput.unwrap().p50, Some(50.0));
    assert_eq!(
        prefs.preferred_max_latency,
        Some(Preference { p50: Some(0.5), p99: Some(2.0), ..Preference::default() })
    );
    let caps =
        MaxPrice { prompt: Some(500_000), completion: Some(1_500_000), request: Some(10_000_000_000), image: None };
    assert_eq!(prefs.max_price, caps);
    assert!(Trust::Audited > Trust::Measured);
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        (r#""temperature":"hot""#, "temperature"),
        (r#""temperature":2.1"#, "temperature"),
        (r#""top_p":-0.1"#, "top_p"),
        (r#""presence_penalty":-3"#, "presence_penalty"),
        (r#""n":0"#, "n"),
        (r#""n":129"#, "n"),
        (r#""n":1.5"#, "n"),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""max_tokens":4294967296"#, "max_tokens"),
        (r#""max_completion_tokens":-1"#, "max_completion_tokens"),
        (r#""seed":"x""#, "seed"),
        (r#""seed":99999999999999999999"#, "seed"),
        (r#""stream":1"#, "stream"),
        (r#""stream":true,"stream_options":{"include_usage":"yes"}"#, "stream_options.include_usage"),
        (r#""stream_options":{"include_usage":true}"#, "stream_options"),
        (r#""usage":{"include":1}"#, "usage.include"),
        (r#""stop":5"#, "stop"),
        (r#""stop":["a","b","c","d","e"]"#, "stop"),
        (r#""stop":["a",1]"#, "stop[1]"),
        (r#""logit_bias":{"5":101}"#, "logit_bias.5"),
        (r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
        (r#""top_logprobs":2"#, "top_logprobs"),
        (r#""response_format":{"type":"xml"}"#, "response_format.type"),
        (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
        (r#""response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#, "response_format.json_schema.name"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].function"),
        (r#""tools":[{"type":"function","function":{"name":""}}]"#, "tools[0].function.name"),
        (r#""tools":[{"type":"function","function":{"name":"f","parameters":[]}}]"#, "tools[0].function.parameters"),
        (r#""tool_choice":"auto""#, "tool_choice"),
        (
            r#""tools":[{"type":"custom","custom":{"name":"c"}}],"tool_choice":{"type":"function"}"#,
            "tool_choice.function",
        ),
        (r#""parallel_tool_calls":"no""#, "parallel_tool_calls"),
        (r#""reasoning_effort":"extreme""#, "reasoning_effort"),
        (r#""verbosity":3"#, "verbosity"),
        (r#""modalities":["smell"]"#, "modalities[0]"),
        (r#""service_tier":"gold""#, "service_tier"),
        (r#""metadata":{"k":5}"#, "metadata.k"),
        (r#""models":[""]"#, "models[0]"),
        (r#""provider":"acme""#, "provider"),
        (r#""provider":{"data_colection":"deny"}"#, "provider.data_colection"),
        (r#""provider":{"zdr":"yes"}"#, "provider.zdr"),
        (r#""provider":{"trust":"total"}"#, "provider.trust"),
        (r#""provider":{"max_price":{"prompt":-1}}"#, "provider.max_price.prompt"),
        (r#""provider":{"max_price":{"promt":1}}"#, "provider.max_price.promt"),
        (r#""provider":{"sort":{"by":"price","x":1}}"#, "provider.sort.x"),
        (r#""provider":{"sort":{"partition":"none"}}"#, "provider.sort.by"),
        (r#""provider":{"order":["/eu"]}"#, "provider.order[0]"),
        (r#""provider":{"zdr":true,"zdr":false}"#, "provider.zdr"),
        (r#""n":1,"n":2"#, "n"),
        (r#""unknown":1,"unkno\u0077n":2"#, "unknown"),
    ];
    for (fields, param) in cases {
        assert_eq!(refusal(&with(fields)).param.as_deref(), Some(param), "{fields}");
    }
}

#[test]
fn messages_are_checked_one_by_one() {
    let cases = [
        (r"5", "messages"),
        (r"[]", "messages"),
        (r"[5]", "messages[0]"),
        (r#"[{"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":5,"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"robot","content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"user"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":null}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":"a"},{"role":"user","content":7}]"#, "messages[1].content"),
        (r#"[{"role":"user","content":[]}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":["x"]}]"#, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[{"type":"smell"}]}]"#, "messages[0].content[0].type"),
        (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "messages[0].content[0].type"),
        (r#"[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0].text"),
        (r#"[{"role":"user","content":[{"type":"text","text":5}]}]"#, "messages[0].content[0].text"),
        (r#"[{"role":"user","content":[{"type":"image_url","image_url":"x"}]}]"#, "messages[0].content[0].image_url"),
        (r#"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#, "messages[0].content[0].image_url"),
        (r#"[{"role":"tool","content":"x"}]"#, "messages[0].tool_call_id"),
        (r#"[{"role":"function","content":"x"}]"#, "messages[0].name"),
        (r#"[{"role":"user","name":5,"content":"x"}]"#, "messages[0].name"),
        (r#"[{"role":"assistant","reasoning":{}}]"#, "messages[0].reasoning"),
        (r#"[{"role":"assistant","tool_calls":[{}]}]"#, "messages[0].tool_calls[0].id"),
        (r#"[{"role":"assistant","tool_calls":[{"id":"a"}]}]"#, "messages[0].tool_calls[0].function"),
        (
            r#"[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]}]"#,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (r#"[{"role":"user","content":"x","content":"y"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":null,"content":"y"}]"#, "messages[0].content"),
    ];
    for (messages, param) in cases {
        let refused = refusal(&format!(r#"{{"model":"m","messages":{messages}}}"#));
        assert_eq!(refused.param.as_deref(), Some(param), "{messages}");
    }
    let fine = r#"{"model":"m","messages":[
        {"role":"system","content":"s"},
        {"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}}]},
        {"role":"tool","tool_call_id":"a","content":[{"type":"text","text":""}]},
        {"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"input_audio","input_audio":{"data":"d","format":"wav"}},{"type":"file","file":{}}]}]}"#;
    let envelope = Envelope::parse(fine.as_bytes()).unwrap();
    assert_eq!(envelope.inputs, Inputs { image: true, audio: true, file: true });
}

#[test]
fn what_is_no_request_at_all_is_refused_without_a_field() {
    let deep = format!("{{\"model\":\"m\",{HELLO},\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let deeper = "[".repeat(1_000_000);
    for body in [
        "",
        "{",
        "[]",
        "5",
        "{\"a\":}",
        "{\"a\":1,}",
        "{'a':1}",
        "{} x",
        "\u{feff}{}",
        "{\"a\":\"\n\"}",
        &deep,
        &deeper,
    ] {
        let refused = refusal(body);
        assert_eq!(refused.param, None, "{}", &body[..body.len().min(60)]);
    }
    let refused = Envelope::parse(b"{\"model\":\"\xff\"}").unwrap_err();
    assert_eq!(refused, Invalid::new(None, "the request body is not UTF-8 (byte 10)"));
    assert_eq!(refusal("{}").param.as_deref(), Some("model"));
    assert_eq!(refusal(r#"{"model":null,"messages":[]}"#).param.as_deref(), Some("messages"));
    assert_eq!(refusal(r#"{"model":"m"}"#).param.as_deref(), Some("messages"));
    assert_eq!(refusal(&with(r#""user":"\ud800""#)).param.as_deref(), Some("user"));
}

#[test]
fn bounds_hold() {
    let many = |n: usize, one: &str| vec![one; n].join(",");
    let messages = |n| format!(r#"{{"model":"m","messages":[{}]}}"#, many(n, r#"{"role":"user","content":""}"#));
    assert!(Envelope::parse(messages(MAX_MESSAGES).as_bytes()).is_ok());
    assert_eq!(refusal(&messages(MAX_MESSAGES + 1)).param.as_deref(), Some("messages"));
    let tools = |n| with(&format!("\"tools\":[{}]", many(n, r#"{"type":"function","function":{"name":"f"}}"#)));
    assert!(Envelope::parse(tools(MAX_TOOLS).as_bytes()).is_ok());
    assert_eq!(refusal(&tools(MAX_TOOLS + 1)).param.as_deref(), Some("tools"));
    let metadata = |n: usize| {
        let pairs: Vec<String> = (0..n).map(|key| format!("\"k{key}\":\"v\"")).collect();
        with(&format!("\"metadata\":{{{}}}", pairs.join(",")))
    };
    assert!(Envelope::parse(metadata(16).as_bytes()).is_ok());
    assert_eq!(refusal(&metadata(17)).param.as_deref(), Some("metadata"));
    assert_eq!(
        refusal(&with(&format!(r#""metadata":{{"k":"{}"}}"#, "é".repeat(513)))).param.as_deref(),
        Some("metadata.k")
    );
    assert_eq!(
        refusal(&with(&format!(r#""safety_identifier":"{}""#, "x".repeat(65)))).param.as_deref(),
        Some("safety_identifier")
    );
    let fields: Vec<String> = (0..MAX_FIELDS).map(|key| format!("\"x{key}\":1")).collect();
    assert_eq!(refusal(&with(&fields.join(","))).param, None);
}

#[test]
fn a_provider_gets_the_clients_own_bytes() {
    let body = "{\"model\":\"org/name:nitro\", \"messages\": [ {\"role\" : \"developer\",\"content\":\"d\\u0065\"},{\"role\":\"user\",\"content\":\"\\\"developer\\\"\"},\
                {\"content\":\"x\",\"role\":\"dev\\u0065loper\"} ],\"temperature\":0.70,\"user\":\"u\",\"safety_identifier\":\"s\",\"metadata\":{\"a\":\"b\"},\
                \"store\":true,\"service_tier\":\"auto\",\"usage\":{\"include\":true},\"models\":[\"x\"],\"provider\":{\"zdr\":true},\
                \"stream\":false,\"max_completion_tokens\":9,\"top_k\":1,\"odd\\u006cy\":1.0e5,\"n\":2}";
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert!(envelope.include_usage && !envelope.developer_roles.is_empty());
    let text = |edits| String::from_utf8(envelope.upstream_body(edits)).unwrap();
    let plain = text(UpstreamEdits { model: "up\"stream", ..UpstreamEdits::default() });
    let Subject::Messages(messages) = envelope.subject else { panic!("a chat has messages") };
    let end = "\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
    assert_eq!(
        plain,
        format!(
            "{{\"model\":\"up\\\"stream\",\"messages\":{messages},\"temperature\":0.70,\"n\":2,\"max_tokens\":9,{end}"
        )
    );
    let declared = ["oddly", "models", "max_completion_tokens"].map(str::to_owned);
    let edited = text(UpstreamEdits {
        model: "m",
        seed: Some(6),
        developer_role_to_system: true,
        declared: &declared,
        plain: false,
    });
    let whole = text(UpstreamEdits { model: "m", plain: true, ..UpstreamEdits::default() });
    assert!(whole.ends_with(",\"stream\":false}") && !whole.contains("stream_options"), "{whole}");
    assert_eq!(
        edited,
        format!(
            "{{\"model\":\"m\",\"messages\":[ {{\"role\" : \"system\",\"content\":\"d\\u0065\"}},{{\"role\":\"user\",\"content\":\"\\\"developer\\\"\"}},\
             {{\"content\":\"x\",\"role\":\"system\"}} ],\"temperature\":0.70,\"oddly\":1.0e5,\"n\":2,\"max_tokens\":9,\"seed\":6,{end}"
        )
    );
    for body in [&plain, &edited, &whole] {
        assert!(Envelope::parse(body.as_bytes()).is_ok(), "{body}");
    }
}

#[test]
fn an_engines_own_way_round_a_limit_never_reaches_it() {
    let body = with(r#""max_tokens":1,"max_completion_tokens":2,"n_predict":4000,"id_slot":3,"usage":{"detail":1}"#);
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert_eq!(envelope.max_tokens, Some(2));
    let sent = String::from_utf8(envelope.upstream_body(UpstreamEdits::default())).unwrap();
    assert!(sent.contains(r#""max_tokens":2,"#), "{sent}");
    for unsent in ["n_predict", "id_slot", "max_completion_tokens", "usage\":{\"detail"] {
        assert!(!sent.contains(unsent), "{sent}");
    }
}

fn texts(work: Work, field: &str, value: &str) -> Result<usize, Invalid> {
    let body = format!(r#"{{"model":"m","{field}":{value}}}"#);
    Envelope::parse_for(work, body.as_bytes()).map(|envelope| match envelope.subject {
        Subject::Texts(texts) => texts.len(),
        Subject::Messages(_) | Subject::Form(_) => 0,
    })
}

#[test]
fn prompts_and_inputs_come_in_four_forms() {
    for (work, field) in [(Work::Completion, "prompt"), (Work::Embedding, "input")] {
        let forms = [("\"a\"", 1), ("[\"a\", \"b\"]", 2), ("[ 1,2,3]", 1), ("[[1],[2,3],\"c\"]", 3)];
        for (value, count) in forms {
            assert_eq!(texts(work, field, value), Ok(count), "{value}");
        }
        for (value, param) in [
            ("\"\"", field.to_owned()),
            ("[]", field.to_owned()),
            ("[\"\"]", format!("{field}[0]")),
            ("[[]]", format!("{field}[0]")),
            ("[1,\"a\"]", format!("{field}[1]")),
            ("[-1]", format!("{field}[0]")),
            ("[1.5]", format!("{field}[0]")),
            ("{}", field.to_owned()),
            ("true", field.to_owned()),
        ] {
            assert_eq!(texts(work, field, value).unwrap_err().param, Some(param), "{value}");
        }
        let other = Envelope::parse_for(work, br#"{"model":"m"}"#).unwrap_err();
        assert_eq!(other.param.as_deref(), Some(field));
    }
}

#[test]
fn a_completion_is_bounded_and_says_what_it_does_not_serve() {
    let parse = |more: &str| {
        let body = format!(r#"{{"model":"m","prompt":["a","b"],{more}"n":2}}"#);
        Envelope::parse_for(Work::Completion, body.as_bytes()).map(|envelope| (envelope.max_tokens, envelope.choices()))
    };
    assert_eq!(parse(""), Ok((Some(16), 4)));
    assert_eq!(parse(r#""max_tokens":7,"logprobs":5,"echo":true,"best_of":2,"suffix":"","#), Ok((Some(7), 4)));
    for (more, param, code) in [
        (r#""suffix":"x","#, "suffix", Some("unsupported_parameter")),
        (r#""best_of":3,"#, "best_of", Some("unsupported_parameter")),
        (r#""logprobs":true,"#, "logprobs", None),
        (r#""logprobs":6,"#, "logprobs", None),
        (r#""echo":1,"#, "echo", None),
    ] {
        let refused = parse(more).unwrap_err();
        assert_eq!((refused.param.as_deref(), refused.code), (Some(param), code), "{more}");
    }
    let many = format!(r#"{{"model":"m","prompt":[{}"a"]}}"#, "\"a\",".repeat(128));
    let refused = Envelope::parse_for(Work::Completion, many.as_bytes()).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("prompt"));
}

#[test]
fn vectors_have_a_form_and_perhaps_dimensions() {
    let parse = |more: &str| {
        let body = format!(r#"{{"model":"m","input":"a"{more}}}"#);
        Envelope::parse_for(Work::Embedding, body.as_bytes()).map(|envelope| envelope.base64)
    };
    assert_eq!(parse(""), Ok(false));
    assert_eq!(parse(r#","encoding_format":"base64","dimensions":8,"stream":"no matter""#), Ok(true));
    for (more, param) in [(r#","encoding_format":"hex""#, "encoding_format"), (r#","dimensions":0"#, "dimensions")] {
        assert_eq!(parse(more).unwrap_err().param.as_deref(), Some(param));
    }
}
