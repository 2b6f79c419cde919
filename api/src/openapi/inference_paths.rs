//! Operations that models answer.

use super::inference_schemas::{chat, media, message_events, messages, response_events, responses, texts};
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

    /// Judges texts and pictures. The engine's answer is passed on as it is.
    #[utoipa::path(post, path = "/v1/moderations", operation_id = "createModeration", tag = "Inference", security(("inference" = [])),
        request_body = media::ModerationRequest,
        responses(r::FromModels, (status = 200, description = "The judgements", body = media::ModerationList)))]
    create_moderation;

    /// Paints pictures of a prompt. The engine's answer is passed on as it is.
    ///
    /// Each picture costs what one request does, and the prompt what its tokens do.
    #[utoipa::path(post, path = "/v1/images/generations", operation_id = "createImage", tag = "Inference", security(("inference" = [])),
        request_body = media::ImageRequest,
        responses(r::FromModels, (status = 200, description = "The pictures", body = media::ImageList)))]
    create_image;

    /// Speaks a text. The engine's answer is passed on as it is, of whatever kind of sound.
    ///
    /// It costs what one request does, and the text what its tokens do.
    #[utoipa::path(post, path = "/v1/audio/speech", operation_id = "createSpeech", tag = "Inference", security(("inference" = [])),
        request_body = media::SpeechRequest,
        responses(r::FromModels, (status = 200, description = "The sound", content((media::Sound = "audio/mpeg"), (media::Sound = "audio/wav"), (media::Sound = "audio/opus"), (media::Sound = "audio/aac"), (media::Sound = "audio/flac"), (media::Sound = "audio/pcm"), (media::Sound = "application/octet-stream")))))]
    create_speech;

    /// Writes down what is said. The engine's answer is passed on as it is.
    ///
    /// It costs what one request does, however long the sound.
    #[utoipa::path(post, path = "/v1/audio/transcriptions", operation_id = "createTranscription", tag = "Inference", security(("inference" = [])),
        request_body(content = media::AudioForm, content_type = "multipart/form-data"),
        responses(r::FromModels, (status = 200, description = "The words", content((media::Transcript = "application/json"), (String = "text/plain"), (String = "text/vtt"), (String = "application/x-subrip"), (media::Sound = "application/octet-stream")))))]
    create_transcription;

    /// The same in English.
    #[utoipa::path(post, path = "/v1/audio/translations", operation_id = "createTranslation", tag = "Inference", security(("inference" = [])),
        request_body(content = media::AudioForm, content_type = "multipart/form-data"),
        responses(r::FromModels, (status = 200, description = "The words", content((media::Transcript = "application/json"), (String = "text/plain"), (String = "text/vtt"), (String = "application/x-subrip"), (media::Sound = "application/octet-stream")))))]
    create_translation;

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
