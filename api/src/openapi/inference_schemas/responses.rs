//! Responses: items in, one object with items out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::shape::{JsonObject, forms, objects, requests, unions};
use super::chat::{JsonObjectFormat, RefusalPart, TextFormat};
use super::{ProviderPreferences, Stop, StreamOptions};

requests! {
    /// What to answer, and how. Nothing is stored.
    ResponseRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        input: ResponseInput,
        ;
        /// What the model is told to be.
        instructions: String,
        /// Events of the names their data repeats as `type`.
        stream: bool,
        stream_options: StreamOptions,
        #[schema(max_items = 128)]
        tools: Vec<ResponseTool>,
        tool_choice: ResponseToolChoice,
        parallel_tool_calls: bool,
        reasoning: ReasoningOptions,
        text: TextOptions,
        /// Most generated tokens, reasoning included.
        #[schema(minimum = 16)]
        max_output_tokens: u32,
        #[schema(minimum = 1)]
        max_tool_calls: u32,
        /// Alternatives to each token. Needs `message.output_text.logprobs` in `include`.
        #[schema(minimum = 0, maximum = 20)]
        top_logprobs: u32,
        /// Such as `message.output_text.logprobs` or `reasoning.encrypted_content`.
        #[schema(max_items = 32)]
        include: Vec<String>,
        /// `auto` or `disabled`.
        truncation: String,
        /// Taken, and without effect: the answer says false.
        store: bool,
        /// Must be false.
        background: bool,
        #[schema(minimum = 0, maximum = 2)]
        temperature: f64,
        #[schema(minimum = 0, maximum = 1)]
        top_p: f64,
        /// −1 is no bound.
        #[schema(minimum = -1)]
        top_k: i32,
        #[schema(minimum = 0, maximum = 1)]
        min_p: f64,
        #[schema(minimum = 0, maximum = 1)]
        top_a: f64,
        #[schema(minimum = 0, maximum = 2)]
        repetition_penalty: f64,
        #[schema(minimum = -2, maximum = 2)]
        presence_penalty: f64,
        #[schema(minimum = -2, maximum = 2)]
        frequency_penalty: f64,
        seed: i64,
        stop: Stop,
        /// By token, −100 to 100.
        logit_bias: BTreeMap<String, f64>,
        /// Extra variables for the model's chat template.
        chat_template_kwargs: JsonObject,
        /// `auto`, `default`, `flex`, `priority`, `fast` or `scale`.
        service_tier: String,
        /// At most 16 pairs; keys of at most 64 characters, values of at most 512.
        metadata: BTreeMap<String, String>,
        /// A hint which requests share a prefix.
        prompt_cache_key: String,
        prompt_cache_options: JsonObject,
        #[schema(max_length = 64)]
        safety_identifier: String,
        user: String,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// How much to reason.
    ReasoningOptions {;
        /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
        effort: String,
        /// `auto`, `concise` or `detailed`.
        summary: String,
    }
    /// The shape of the answer and its length.
    TextOptions {;
        format: ResponseTextFormat,
        /// `low`, `medium` or `high`.
        verbosity: String,
    }
    /// What somebody said.
    InputMessage {
        /// `user`, `assistant`, `system` or `developer`.
        role: String,
        content: InputContent,
        ;
        /// `message`, if anything.
        r#type: String,
        id: String, status: String,
    }
    /// What the model thought before. Read from `content`, or from `summary` where that is all there is.
    GivenReasoning { r#type: String, ; id: String, content: Vec<ReasoningText>, summary: Vec<SummaryText>, encrypted_content: String, }
    /// A call the model made before.
    GivenFunctionCall {
        r#type: String, call_id: String, name: String,
        /// The text of a JSON object.
        arguments: String,
        ;
        id: String, status: String,
    }
    /// A call of a custom tool the model made before.
    GivenCustomToolCall { r#type: String, call_id: String, name: String, input: String, ; id: String, status: String, }
    /// What a tool answered.
    ToolCallOutput { r#type: String, call_id: String, output: InputContent, ; id: String, status: String, }
    /// Text from a user.
    InputText { r#type: String, text: String, }
    /// Text the model said before.
    GivenOutputText { r#type: String, text: String, }
    /// An image.
    InputImage {
        r#type: String,
        /// A URL, which may be a data URL.
        image_url: String,
        ;
        detail: String,
    }
    /// A file.
    InputFile { r#type: String, ; file_data: String, file_id: String, filename: String, }
    /// A part of a summary.
    SummaryText { r#type: String, text: String, }
    /// A function the model may call.
    ResponseFunctionTool {
        r#type: String,
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        ;
        description: String,
        /// A JSON Schema.
        parameters: JsonObject,
        strict: bool,
    }
    /// A tool that takes free text.
    ResponseCustomTool {
        r#type: String,
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        ;
        description: String, format: JsonObject,
    }
    /// This tool, and no other.
    ResponseToolName { r#type: String, name: String, }
    /// Some of the tools.
    ResponseAllowedTools {
        r#type: String,
        /// `auto` or `required`.
        mode: String,
        tools: Vec<ResponseToolName>,
    }
    /// JSON that follows a schema.
    ResponseJsonSchema {
        r#type: String,
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        /// A JSON Schema.
        schema: JsonObject,
        ;
        description: String, strict: bool,
    }
}

unions! {
    /// An item that says what it is.
    TypedInputItem by "type" {
        "reasoning" => GivenReasoning,
        "function_call" => GivenFunctionCall,
        "custom_tool_call" => GivenCustomToolCall,
        "function_call_output" | "custom_tool_call_output" => ToolCallOutput,
    }
    /// One part of a content.
    InputPart by "type" {
        "input_text" => InputText,
        "output_text" => GivenOutputText,
        "input_image" => InputImage,
        "input_file" => InputFile,
        "refusal" => RefusalPart,
    }
    /// A tool the model may call.
    ResponseTool by "type" { "function" => ResponseFunctionTool, "custom" => ResponseCustomTool, }
    /// A choice among tools by name.
    ResponseNamedChoice by "type" {
        "function" | "custom" => ResponseToolName,
        "allowed_tools" => ResponseAllowedTools,
    }
    /// The shape of the answer.
    ResponseTextFormat by "type" {
        "text" => TextFormat,
        "json_object" => JsonObjectFormat,
        "json_schema" => ResponseJsonSchema,
    }
    /// An item of the answer.
    OutputItem by "type" {
        "message" => OutputMessage,
        "reasoning" => ReasoningItem,
        "function_call" => FunctionCallItem,
        "custom_tool_call" => CustomToolCallItem,
    }
    /// A run of text in an item: a message's is `output_text` or `refusal`, reasoning's is `reasoning_text`.
    OutputPart by "type" {
        "output_text" => OutputText,
        "refusal" => RefusalPart,
        "reasoning_text" => ReasoningText,
    }
}

forms! {
    /// What a user says, or the items of a conversation.
    ResponseInput { Text: String, Items: Vec<InputItem>, }
    /// A message, which need not say that it is one, or an item that says what it is.
    InputItem { Message: InputMessage, Typed: TypedInputItem, }
    /// Text, or a list of parts.
    InputContent { Text: String, Parts: Vec<InputPart>, }
    /// `none`, `auto`, `required`, or a choice by name.
    ResponseToolChoice { Word: String, Named: ResponseNamedChoice, }
}

objects! {
    /// An answer, with what it repeats of its request.
    Response {
        id: String,
        /// Always `response`.
        object: String,
        /// Unix seconds.
        created_at: i64, completed_at: Option<i64>,
        /// `in_progress`, `completed`, `incomplete` or `failed`.
        status: String,
        /// Always false.
        background: bool,
        error: Option<ResponseFailure>, incomplete_details: Option<IncompleteDetails>, instructions: Option<String>,
        max_output_tokens: Option<u32>, max_tool_calls: Option<u32>,
        /// The model that served.
        model: String,
        output: Vec<OutputItem>, parallel_tool_calls: bool,
        /// Always null.
        previous_response_id: Option<String>,
        prompt_cache_key: Option<String>, reasoning: Option<ReasoningEcho>, safety_identifier: Option<String>,
        service_tier: String,
        /// Always false.
        store: bool,
        temperature: f64, text: TextEcho, tool_choice: ResponseToolChoice, tools: Vec<ResponseTool>, top_logprobs: u32,
        top_p: f64, truncation: String, presence_penalty: f64, frequency_penalty: f64, usage: Option<ResponseUsage>,
        metadata: BTreeMap<String, String>,
    }
    /// Why there is no answer.
    ResponseFailure {
        /// `rate_limit_exceeded` or `server_error`.
        code: String,
        message: String,
    }
    /// Why the answer is cut.
    IncompleteDetails {
        /// `max_output_tokens` or `content_filter`.
        reason: String,
    }
    /// How much was to be reasoned.
    ReasoningEcho { effort: Option<String>, summary: Option<String>, }
    /// The shape of the answer and its length.
    TextEcho { format: ResponseTextFormat, verbosity: String, }
    /// Tokens and cost.
    ResponseUsage {
        input_tokens: u64, input_tokens_details: InputTokensDetails, output_tokens: u64,
        output_tokens_details: OutputTokensDetails, total_tokens: u64,
        /// US dollars.
        cost: f64,
    }
    /// Input tokens of a kind.
    InputTokensDetails { cached_tokens: u64, cache_write_tokens: u64, }
    /// Output tokens of a kind.
    OutputTokensDetails { reasoning_tokens: u64, }
    /// What the model said.
    OutputMessage {
        id: String, r#type: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        /// Always `assistant`.
        role: String,
        content: Vec<OutputPart>,
    }
    /// What the model thought.
    ReasoningItem { id: String, r#type: String, summary: Vec<SummaryText>, content: Vec<ReasoningText>, }
    /// A call of a function.
    FunctionCallItem {
        id: String, r#type: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        call_id: String, name: String,
        /// The text of a JSON object.
        arguments: String,
    }
    /// A call of a custom tool.
    CustomToolCallItem {
        id: String, r#type: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        call_id: String, name: String, input: String,
    }
    /// Text for the user.
    OutputText { r#type: String, text: String, annotations: Vec<Value>, logprobs: Vec<OutputLogprob>, }
    /// A thought.
    ReasoningText { r#type: String, text: String, }
    /// One token and its alternatives.
    OutputLogprob { token: String, logprob: f64, bytes: Vec<u32>, top_logprobs: Vec<OutputTopLogprob>, }
    /// An alternative to a token.
    OutputTopLogprob { token: String, logprob: f64, bytes: Vec<u32>, }
}
