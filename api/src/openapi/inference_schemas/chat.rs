//! Chat completions: conversations in, messages or chunks out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::schemas::ErrorBody;
use super::super::shape::{JsonObject, forms, objects, requests, unions};
use super::{ProviderPreferences, Stop, StreamOptions, Usage, UsageOptions};

requests! {
    /// A conversation and how to answer it. Fields not listed are passed on to the engine.
    ChatCompletionRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        #[schema(min_items = 1, max_items = 2048)]
        messages: Vec<ChatMessage>,
        ;
        /// Server-sent events.
        stream: bool,
        stream_options: StreamOptions,
        usage: UsageOptions,
        /// Most generated tokens of each choice, reasoning included.
        #[schema(minimum = 1)]
        max_completion_tokens: u32,
        /// The older name of `max_completion_tokens`.
        #[schema(minimum = 1)]
        max_tokens: u32,
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
        /// Choices to generate.
        #[schema(minimum = 1, maximum = 128)]
        n: u32,
        seed: i64,
        stop: Stop,
        /// By token, −100 to 100.
        logit_bias: BTreeMap<String, f64>,
        logprobs: bool,
        /// Alternatives to each token. Only with `logprobs: true`.
        #[schema(minimum = 0, maximum = 20)]
        top_logprobs: u32,
        response_format: ResponseFormat,
        #[schema(max_items = 128)]
        tools: Vec<ChatTool>,
        tool_choice: ChatToolChoice,
        parallel_tool_calls: bool,
        /// The older form of `tools`.
        #[schema(max_items = 128)]
        functions: Vec<FunctionDefinition>,
        function_call: FunctionCallChoice,
        /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
        reasoning_effort: String,
        /// `low`, `medium` or `high`.
        verbosity: String,
        /// `text`, `audio`.
        modalities: Vec<String>,
        prediction: JsonObject,
        /// Extra variables for the model's chat template.
        chat_template_kwargs: JsonObject,
        /// `auto`, `default`, `flex`, `priority`, `fast` or `scale`.
        service_tier: String,
        /// Taken, and without effect: nothing is stored.
        store: bool,
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
    /// What the model is told to be.
    InstructionMessage { role: String, content: ChatContent, ; name: String, }
    /// What a user says.
    UserMessage { role: String, content: ChatContent, ; name: String, }
    /// What the model said before.
    AssistantMessage {
        role: String,
        ;
        content: ChatContent, name: String, refusal: String, reasoning: String,
        /// Another name of `reasoning`.
        reasoning_content: String,
        #[schema(max_items = 512)]
        tool_calls: Vec<ChatToolCall>,
        function_call: CalledFunction,
    }
    /// What a tool answered.
    ToolMessage { role: String, tool_call_id: String, content: ChatContent, }
    /// What a function answered, in the older form.
    FunctionMessage { role: String, name: String, content: ChatContent, }
    /// A piece of text.
    TextPart { r#type: String, text: String, }
    /// An image.
    ImagePart { r#type: String, image_url: ImageUrl, }
    /// Where an image is.
    ImageUrl {
        /// A URL, which may be a data URL.
        url: String,
        ;
        detail: String,
    }
    /// A sound.
    AudioPart { r#type: String, input_audio: InputAudio, }
    /// A sound's bytes, in base64.
    InputAudio { data: String, format: String, }
    /// A file.
    FilePart { r#type: String, file: FileData, }
    /// A file's content.
    FileData {; file_data: String, file_id: String, filename: String, }
    /// A refusal in so many words.
    RefusalPart { r#type: String, refusal: String, }
    /// A call of a tool that takes free text.
    CustomToolCall { id: String, r#type: String, custom: CalledCustom, }
    /// What is called, with what.
    CalledCustom { name: String, input: String, }
    /// A function the model may call.
    FunctionTool { r#type: String, function: FunctionDefinition, }
    /// What a function takes.
    FunctionDefinition {
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        ;
        description: String,
        /// A JSON Schema.
        parameters: JsonObject,
        strict: bool,
    }
    /// A tool that takes free text.
    CustomTool { r#type: String, custom: CustomDefinition, }
    /// What such a tool takes.
    CustomDefinition {
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        ;
        description: String, format: JsonObject,
    }
    /// This function, and no other.
    FunctionChoice { r#type: String, function: ToolName, }
    /// This custom tool, and no other.
    CustomChoice { r#type: String, custom: ToolName, }
    /// Some of the tools.
    AllowedToolsChoice { r#type: String, allowed_tools: JsonObject, }
    /// A tool by its name.
    ToolName {
        #[schema(min_length = 1, max_length = 64)]
        name: String,
    }
    /// Free text.
    TextFormat { r#type: String, }
    /// Some JSON object.
    JsonObjectFormat { r#type: String, }
    /// JSON that follows a schema.
    JsonSchemaFormat { r#type: String, json_schema: JsonSchemaDefinition, }
    /// A schema and its name.
    JsonSchemaDefinition {
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        ;
        description: String,
        /// A JSON Schema.
        schema: JsonObject,
        strict: bool,
    }
}

unions! {
    /// One message of a conversation.
    ChatMessage by "role" {
        "developer" | "system" => InstructionMessage,
        "user" => UserMessage,
        "assistant" => AssistantMessage,
        "tool" => ToolMessage,
        "function" => FunctionMessage,
    }
    /// One part of a message.
    ChatContentPart by "type" {
        "text" => TextPart,
        "image_url" => ImagePart,
        "input_audio" => AudioPart,
        "file" => FilePart,
        "refusal" => RefusalPart,
    }
    /// A call the model made.
    ChatToolCall by "type" { "function" => FunctionToolCall, "custom" => CustomToolCall, }
    /// A tool the model may call.
    ChatTool by "type" { "function" => FunctionTool, "custom" => CustomTool, }
    /// A choice among tools by name.
    NamedToolChoice by "type" {
        "function" => FunctionChoice,
        "custom" => CustomChoice,
        "allowed_tools" => AllowedToolsChoice,
    }
    /// The shape of the answer.
    ResponseFormat by "type" {
        "text" => TextFormat,
        "json_object" => JsonObjectFormat,
        "json_schema" => JsonSchemaFormat,
    }
}

forms! {
    /// Text, or a list of parts.
    ChatContent { Text: String, Parts: Vec<ChatContentPart>, }
    /// `none`, `auto`, `required`, or a choice by name.
    ChatToolChoice { Word: String, Named: NamedToolChoice, }
    /// `none`, `auto`, or one function.
    FunctionCallChoice { Word: String, Named: ToolName, }
}

objects! {
    /// A whole answer.
    ChatCompletion {
        id: String,
        /// Always `chat.completion`.
        object: String,
        /// Unix seconds.
        created: i64,
        /// The model that served.
        model: String,
        /// Who served it.
        provider: String,
        service_tier: String, choices: Vec<ChatChoice>, usage: Usage,
    }
    /// One of the objects asked for.
    ChatChoice {
        index: u32, message: ChatAnswer, logprobs: Option<ChatLogprobs>,
        /// `stop`, `length`, `tool_calls`, `content_filter` or `function_call`.
        finish_reason: String,
        ;
        /// The engine's own word, where it is another.
        native_finish_reason: String,
    }
    /// What the model said.
    ChatAnswer {
        /// Always `assistant`.
        role: String,
        content: Option<String>, refusal: Option<String>, annotations: Vec<Value>,
        ;
        reasoning: String,
        /// The same as `reasoning`.
        reasoning_content: String,
        tool_calls: Vec<FunctionToolCall>, function_call: CalledFunction,
    }
    /// A call of a function.
    FunctionToolCall { id: String, r#type: String, function: CalledFunction, }
    /// What is called, with what.
    CalledFunction {
        name: String,
        /// The text of a JSON object.
        arguments: String,
    }
    /// Log probabilities of what was said.
    ChatLogprobs {; content: Option<Vec<TokenLogprob>>, refusal: Option<Vec<TokenLogprob>>, }
    /// One token and its alternatives.
    TokenLogprob { token: String, logprob: f64, ; bytes: Option<Vec<u32>>, top_logprobs: Vec<TopLogprob>, }
    /// An alternative to a token.
    TopLogprob { token: String, logprob: f64, ; bytes: Option<Vec<u32>>, }
    /// A piece of a streamed answer.
    ChatCompletionChunk {
        id: String,
        /// Always `chat.completion.chunk`.
        object: String,
        created: i64, model: String,
        /// Empty in the chunk with usage.
        choices: Vec<ChunkChoice>,
        ;
        /// With `include_usage`: null in every chunk but the last.
        usage: Option<Usage>,
        /// Why the stream ends early; such a chunk is the last before `[DONE]`.
        error: ErrorBody,
    }
    /// What a piece adds to one choice.
    ChunkChoice {
        index: u32, delta: ChatDelta,
        /// As in a whole answer, or `error`.
        finish_reason: Option<String>,
        ;
        logprobs: Option<ChatLogprobs>, native_finish_reason: String,
    }
    /// What is new.
    ChatDelta {;
        /// In a choice's first piece only.
        role: String,
        content: String, refusal: Option<String>, reasoning: String, reasoning_content: String,
        tool_calls: Vec<ToolCallDelta>, function_call: FunctionDelta,
    }
    /// What is new of a call. Its id, type and name come once.
    ToolCallDelta { index: u32, function: FunctionDelta, ; id: String, r#type: String, }
    /// What is new of a function's call.
    FunctionDelta { arguments: String, ; name: String, }
}
