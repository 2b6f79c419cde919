//! Events of a streamed response.

use super::super::shape::{objects, unions};
use super::responses::{OutputItem, OutputLogprob, OutputPart, Response};

unions! {
    /// The data of one event. Numbers count from 0 by 1; the stream ends with `data: [DONE]`.
    ResponseEvent by "type" {
        "response.created" | "response.in_progress" | "response.completed" | "response.incomplete" | "response.failed"
            => ResponseProgressEvent,
        "response.output_item.added" | "response.output_item.done" => OutputItemEvent,
        "response.content_part.added" | "response.content_part.done" => ContentPartEvent,
        "response.output_text.delta" => OutputTextDeltaEvent,
        "response.output_text.done" => OutputTextDoneEvent,
        "response.reasoning_text.delta" | "response.refusal.delta" => TextDeltaEvent,
        "response.reasoning_text.done" => ReasoningTextDoneEvent,
        "response.refusal.done" => RefusalDoneEvent,
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => CallDeltaEvent,
        "response.function_call_arguments.done" => FunctionCallDoneEvent,
        "response.custom_tool_call_input.done" => CustomToolCallDoneEvent,
        "error" => ResponseErrorEvent,
    }
}

objects! {
    /// The whole object, at the beginning and at the end.
    ResponseProgressEvent { r#type: String, sequence_number: u64, response: Response, }
    /// An item begins or ends.
    OutputItemEvent { r#type: String, sequence_number: u64, output_index: u32, item: OutputItem, }
    /// A run of text begins or ends.
    ContentPartEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, part: OutputPart,
    }
    /// More text for the user.
    OutputTextDeltaEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, delta: String,
        logprobs: Vec<OutputLogprob>,
    }
    /// All of that text.
    OutputTextDoneEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, text: String,
        logprobs: Vec<OutputLogprob>,
    }
    /// More of a thought or of a refusal.
    TextDeltaEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, delta: String,
    }
    /// All of that thought.
    ReasoningTextDoneEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, text: String,
    }
    /// All of that refusal.
    RefusalDoneEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, content_index: u32, refusal: String,
    }
    /// More of what a call takes.
    CallDeltaEvent { r#type: String, sequence_number: u64, item_id: String, output_index: u32, delta: String, }
    /// All of what a function takes.
    FunctionCallDoneEvent {
        r#type: String, sequence_number: u64, item_id: String, output_index: u32, name: String, arguments: String,
    }
    /// All of what a custom tool takes.
    CustomToolCallDoneEvent { r#type: String, sequence_number: u64, item_id: String, output_index: u32, input: String, }
    /// The answer ends early; `response.failed` follows.
    ResponseErrorEvent { r#type: String, sequence_number: u64, code: String, message: String, param: Option<String>, }
}
