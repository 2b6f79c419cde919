//! Judgements, pictures and sounds. Engines' answers are passed on as they come, so little is promised of them.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::shape::{JsonObject, forms, objects, requests};
use super::ProviderPreferences;

requests! {
    /// Texts or pictures to be judged.
    ModerationRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        input: Judged,
        ;
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// A prompt to be painted. Fields not listed reach an engine only when its offer declares them.
    ImageRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        #[schema(min_length = 1)]
        prompt: String,
        ;
        /// Pictures; each is paid for as one request.
        #[schema(minimum = 1, maximum = 10)]
        n: u32,
        /// Such as `1024x1024`.
        size: String,
        quality: String,
        style: String,
        /// `url` or `b64_json`.
        response_format: String,
        background: String,
        /// Such as `png`.
        output_format: String,
        output_compression: u32,
        moderation: String,
        user: String,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// A text to be spoken. Fields not listed reach an engine only when its offer declares them.
    SpeechRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        #[schema(min_length = 1)]
        input: String,
        ;
        /// One of the engine's own.
        voice: VoiceChoice,
        instructions: String,
        /// Such as `mp3`.
        response_format: String,
        speed: f64,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// A sound whose words are wanted: a form of at most 25 MiB.
    AudioForm {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        file: Sound,
        ;
        /// ISO 639-1.
        language: String,
        /// Words that may occur.
        prompt: String,
        /// `json`, `text`, `srt`, `verbose_json` or `vtt`.
        response_format: String,
        temperature: f64,
        /// Which providers may serve, and which should: an object, as JSON.
        provider: String,
    }
}

forms! {
    /// A text, texts, or parts with texts and pictures.
    Judged { Text: String, Texts: Vec<String>, Parts: Vec<JsonObject>, }
    /// A name, or an object with an id.
    VoiceChoice { Name: String, Object: JsonObject, }
}

/// The bytes of a file.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(in crate::openapi) struct Sound(String);

objects! {
    /// Judgements, in the order of what was judged.
    ModerationList { results: Vec<JsonObject>, ; id: String, model: String, }
    /// Pictures.
    ImageList {
        data: Vec<ImageData>,
        ;
        /// Unix seconds.
        created: i64,
        usage: JsonObject,
    }
    /// One picture, as base64 or where it can be fetched for a while.
    ImageData { ; b64_json: String, url: String, revised_prompt: String, }
    /// What was said.
    Transcript { text: String, ; language: String, duration: f64, segments: Vec<JsonObject>, words: Vec<JsonObject>, }
}
