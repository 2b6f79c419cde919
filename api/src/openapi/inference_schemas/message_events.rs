//! Events of a streamed message.

use super::super::shape::{JsonObject, objects, unions};
use super::messages::{AnswerBlock, Message, MessagesError, ThinkingTokens};

unions! {
    /// The data of one event. Blocks open and close in order; the last event is `message_stop`, or `error`.
    MessageEvent by "type" {
        "message_start" => MessageStartEvent,
        "content_block_start" => BlockStartEvent,
        "ping" | "message_stop" => BareMessageEvent,
        "content_block_delta" => BlockDeltaEvent,
        "content_block_stop" => BlockStopEvent,
        "message_delta" => MessageDeltaEvent,
        "error" => MessageErrorEvent,
    }
    /// What is new of a block.
    BlockDelta by "type" {
        "text_delta" => BlockTextDelta,
        "thinking_delta" => BlockThinkingDelta,
        "signature_delta" => BlockSignatureDelta,
        "input_json_delta" => BlockInputDelta,
    }
}

objects! {
    /// The message, still empty.
    MessageStartEvent { r#type: String, message: Message, }
    /// A block begins.
    BlockStartEvent { r#type: String, index: u32, content_block: AnswerBlock, }
    /// A sign of life, or the end.
    BareMessageEvent { r#type: String, }
    /// A block grows.
    BlockDeltaEvent { r#type: String, index: u32, delta: BlockDelta, }
    /// A block ends.
    BlockStopEvent { r#type: String, index: u32, }
    /// How the message ended.
    MessageDeltaEvent { r#type: String, delta: MessageDelta, usage: MessageDeltaUsage, }
    /// The message ends early.
    MessageErrorEvent { r#type: String, error: MessagesError, request_id: String, }
    /// More text.
    BlockTextDelta { r#type: String, text: String, }
    /// More of a thought.
    BlockThinkingDelta { r#type: String, thinking: String, }
    /// A thought's signature, which is empty.
    BlockSignatureDelta { r#type: String, signature: String, }
    /// More of what a tool takes: a piece of an object's text.
    BlockInputDelta { r#type: String, partial_json: String, }
    /// Why the message ended.
    MessageDelta {
        /// `end_turn`, `max_tokens`, `stop_sequence`, `tool_use` or `refusal`.
        stop_reason: Option<String>,
        stop_sequence: Option<String>,
        /// Always null.
        stop_details: Option<JsonObject>,
        /// Always null.
        container: Option<JsonObject>,
    }
    /// Tokens of the whole message.
    MessageDeltaUsage {
        input_tokens: u64, output_tokens: u64, cache_creation_input_tokens: u64, cache_read_input_tokens: u64,
        output_tokens_details: Option<ThinkingTokens>,
        /// Always null.
        server_tool_use: Option<JsonObject>,
    }
}
