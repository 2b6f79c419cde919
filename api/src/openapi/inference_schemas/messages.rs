//! Messages: the same models in Anthropic's dialect.

use super::super::shape::{JsonObject, forms, objects, requests, unions};
use super::ProviderPreferences;

requests! {
    /// A conversation and how to answer it.
    MessagesRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        /// Most generated tokens, thinking included.
        #[schema(minimum = 1)]
        max_tokens: u32,
        #[schema(min_items = 1, max_items = 2048)]
        messages: Vec<MessageTurn>,
        ;
        /// What the model is told to be.
        system: SystemContent,
        /// Events of the names their data repeats as `type`.
        stream: bool,
        #[schema(max_items = 4)]
        stop_sequences: Vec<String>,
        #[schema(minimum = 0, maximum = 1)]
        temperature: f64,
        #[schema(minimum = 0, maximum = 1)]
        top_p: f64,
        #[schema(minimum = 0)]
        top_k: i32,
        #[schema(max_items = 128)]
        tools: Vec<MessageTool>,
        tool_choice: MessageToolChoice,
        thinking: Thinking,
        output_config: OutputConfig,
        metadata: MessageMetadata,
        /// `auto` or `standard_only`.
        service_tier: String,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// A conversation to be counted. Takes what a request for an answer takes.
    CountTokensRequest {
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        #[schema(min_items = 1, max_items = 2048)]
        messages: Vec<MessageTurn>,
        ;
        /// What the model is told to be.
        system: SystemContent,
        #[schema(max_items = 128)]
        tools: Vec<MessageTool>,
        tool_choice: MessageToolChoice,
        thinking: Thinking,
        output_config: OutputConfig,
    }
    /// One turn.
    MessageTurn {
        /// `user`, `assistant` or `system`.
        role: String,
        content: MessageContent,
    }
    /// For whom the answer is.
    MessageMetadata {;
        #[schema(max_length = 512)]
        user_id: String,
    }
    /// Text.
    GivenTextBlock { r#type: String, text: String, }
    /// An image.
    ImageBlock { r#type: String, source: ImageSource, }
    /// A document.
    DocumentBlock { r#type: String, source: DocumentSource, ; title: String, context: String, }
    /// Something found.
    SearchResultBlock {
        r#type: String, title: String, source: String,
        #[schema(no_recursion)]
        content: MessageContent,
    }
    /// A call the model made before.
    GivenToolUseBlock { r#type: String, id: String, name: String, input: JsonObject, }
    /// What a tool answered.
    ToolResultBlock {
        r#type: String, tool_use_id: String,
        ;
        #[schema(no_recursion)]
        content: MessageContent,
        is_error: bool,
    }
    /// What the model thought before.
    GivenThinkingBlock { r#type: String, thinking: String, ; signature: String, }
    /// Another model's cipher, which is left out.
    RedactedThinkingBlock { r#type: String, ; data: String, }
    /// Bytes.
    Base64Source { r#type: String, media_type: String, data: String, }
    /// Where it is.
    UrlSource { r#type: String, url: String, }
    /// Plain text.
    TextSource { r#type: String, data: String, ; media_type: String, }
    /// Blocks.
    ContentSource {
        r#type: String,
        #[schema(no_recursion)]
        content: MessageContent,
    }
    /// A tool the model may call.
    MessageTool {
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        /// A JSON Schema.
        input_schema: JsonObject,
        ;
        /// `custom`, if anything.
        r#type: String,
        description: String, strict: bool,
    }
    /// Any tool, or none.
    OpenToolChoice { r#type: String, ; disable_parallel_tool_use: bool, }
    /// This tool, and no other.
    SingleToolChoice { r#type: String, name: String, ; disable_parallel_tool_use: bool, }
    /// About so many tokens.
    ThinkingBudget {
        r#type: String,
        #[schema(minimum = 1024)]
        budget_tokens: u32,
        ;
        /// `summarized` or `omitted`.
        display: String,
    }
    /// As the model sees fit, or not at all.
    ThinkingMode {
        r#type: String,
        ;
        /// `summarized` or `omitted`.
        display: String,
    }
    /// How hard to try, and the shape of the answer.
    OutputConfig {;
        /// `low`, `medium`, `high`, `xhigh` or `max`.
        effort: String,
        format: OutputSchema,
    }
    /// JSON that follows a schema.
    OutputSchema {
        /// Always `json_schema`.
        r#type: String,
        /// A JSON Schema.
        schema: JsonObject,
    }
}

unions! {
    /// One block of a turn.
    GivenBlock by "type" {
        "text" => GivenTextBlock,
        "image" => ImageBlock,
        "document" => DocumentBlock,
        "search_result" => SearchResultBlock,
        "tool_use" => GivenToolUseBlock,
        "tool_result" => ToolResultBlock,
        "thinking" => GivenThinkingBlock,
        "redacted_thinking" => RedactedThinkingBlock,
    }
    /// An image's bytes, or where it is.
    ImageSource by "type" { "base64" => Base64Source, "url" => UrlSource, }
    /// A document's text, blocks or bytes.
    DocumentSource by "type" { "text" => TextSource, "content" => ContentSource, "base64" => Base64Source, }
    /// A choice among tools.
    MessageToolChoice by "type" { "auto" | "any" | "none" => OpenToolChoice, "tool" => SingleToolChoice, }
    /// How much to think before the answer.
    Thinking by "type" { "enabled" => ThinkingBudget, "adaptive" | "disabled" => ThinkingMode, }
    /// One block of the answer.
    AnswerBlock by "type" { "text" => TextBlock, "thinking" => ThinkingBlock, "tool_use" => ToolUseBlock, }
}

forms! {
    /// Text, or a list of blocks.
    MessageContent { Text: String, Blocks: Vec<GivenBlock>, }
    /// Text, or a list of texts.
    SystemContent { Text: String, Blocks: Vec<GivenTextBlock>, }
}

objects! {
    /// An answer.
    Message {
        id: String,
        /// Always `message`.
        r#type: String,
        /// Always `assistant`.
        role: String,
        /// The model that served.
        model: String,
        content: Vec<AnswerBlock>,
        /// `end_turn`, `max_tokens`, `stop_sequence`, `tool_use` or `refusal`; null where a stream begins.
        stop_reason: Option<String>,
        stop_sequence: Option<String>,
        /// Always null.
        stop_details: Option<JsonObject>,
        /// Always null.
        container: Option<JsonObject>,
        usage: MessageUsage,
    }
    /// Text.
    TextBlock {
        r#type: String, text: String,
        /// Always null.
        citations: Option<Vec<JsonObject>>,
    }
    /// What the model thought, for those who asked.
    ThinkingBlock {
        r#type: String, thinking: String,
        /// Empty: nobody vouches for it.
        signature: String,
    }
    /// A call of a tool.
    ToolUseBlock { r#type: String, id: String, name: String, input: JsonObject, caller: ToolCaller, }
    /// Who calls.
    ToolCaller {
        /// Always `direct`.
        r#type: String,
    }
    /// Tokens.
    MessageUsage {
        /// Without those a cache gave or took.
        input_tokens: u64,
        output_tokens: u64, cache_creation_input_tokens: u64, cache_read_input_tokens: u64,
        output_tokens_details: Option<ThinkingTokens>,
        /// Always null.
        server_tool_use: Option<JsonObject>,
        /// Always null.
        cache_creation: Option<JsonObject>,
        /// Always null.
        inference_geo: Option<String>,
        /// Always `standard`.
        service_tier: String,
    }
    /// Output tokens of a kind.
    ThinkingTokens { thinking_tokens: u64, }
    /// What a conversation comes to.
    TokenCount { input_tokens: u64, }
    /// An error in Anthropic's shape.
    MessagesErrorResponse {
        /// Always `error`.
        r#type: String,
        error: MessagesError,
        /// The id in the header `request-id`.
        request_id: String,
    }
    /// What went wrong.
    MessagesError {
        /// Such as `invalid_request_error`, `authentication_error`, `billing_error`, `rate_limit_error`, `overloaded_error`.
        r#type: String,
        /// For people.
        message: String,
        ;
        /// Stable, for programs.
        code: String,
    }
}
