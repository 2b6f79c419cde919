//! Operations that models answer.

use super::inference_schemas::{chat, message_events, messages, response_events, responses, texts};
use super::shape::operations;
use super::standing as r;

operations! {
    /// Answers a conversation.
    ///
    /// With `stream: true` the answer comes as server-sent events ending in `data: [DONE]`; a failure after the first
    /// token is told in band.
    #[utoipa::path(post, path = "/v1/chat/completions", operation_id = "createChatCompletion", tag = "Inference", security(("inference" = [])),
        request_body = chat::ChatCompletionRequest,
        responses(r::FromModels, (status = 200, description = "The answer", content((chat::ChatCompletion = "application/json"), (chat::ChatCompletionChunk = "text/event-stream")))))]
    create_chat_completion;

    /// Goes on from a prompt.
    ///
    /// With `stream: true` the answer comes as server-sent events ending in `data: [DONE]`; a failure after the first
    /// token is told in band.
    #[utoipa::path(post, path = "/v1/completions", operation_id = "createCompletion", tag = "Inference", security(("inference" = [])),
        request_body = texts::CompletionRequest,
        responses(r::FromModels, (status = 200, description = "The answer", content((texts::Completion = "application/json"), (texts::Completion = "text/event-stream")))))]
    create_completion;

    /// Turns texts into vectors.
    #[utoipa::path(post, path = "/v1/embeddings", operation_id = "createEmbedding", tag = "Inference", security(("inference" = [])),
        request_body = texts::EmbeddingRequest,
        responses(r::FromModels, (status = 200, description = "The vectors", body = texts::EmbeddingList)))]
    create_embedding;

    /// Answers in items. Nothing is stored: what refers to an earlier response is refused.
    ///
    /// With `stream: true` the answer comes as server-sent events, each with its name, ending in `data: [DONE]`.
    #[utoipa::path(post, path = "/v1/responses", operation_id = "createResponse", tag = "Inference", security(("inference" = [])),
        request_body = responses::ResponseRequest,
        responses(r::FromModels, (status = 200, description = "The answer", content((responses::Response = "application/json"), (response_events::ResponseEvent = "text/event-stream")))))]
    create_response;

    /// Never finds one: responses are not stored here.
    #[utoipa::path(get, path = "/v1/responses/{response}", operation_id = "retrieveResponse", tag = "Inference", security(("inference" = [])),
        params(("response" = String, Path)), responses())]
    retrieve_response;

    /// Answers a conversation in Anthropic's dialect, errors included.
    ///
    /// With `stream: true` the answer comes as server-sent events, each with its name, ending in `message_stop`.
    #[utoipa::path(post, path = "/v1/messages", operation_id = "createMessage", tag = "Inference", security(("inference" = []), ("inferenceHeader" = [])),
        request_body = messages::MessagesRequest,
        responses(r::FromModels, (status = 200, description = "The answer", content((messages::Message = "application/json"), (message_events::MessageEvent = "text/event-stream")))))]
    create_message;

    /// Counts what a conversation comes to, without asking a model. Costs nothing.
    #[utoipa::path(post, path = "/v1/messages/count_tokens", operation_id = "countMessageTokens", tag = "Inference", security(("inference" = []), ("inferenceHeader" = [])),
        request_body = messages::CountTokensRequest,
        responses(r::Named, r::Limited, (status = 200, description = "The count", body = messages::TokenCount)))]
    count_message_tokens;
}
