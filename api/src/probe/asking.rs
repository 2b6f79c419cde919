//! What an offer is asked for before customers ask: the least there is of its kind of work.

use bytes::Bytes;
use serde_json::json;

use crate::envelope::Work;

/// Samples a second of a sound, and how many of them a probe has: half a second of silence.
const RATE: u32 = 16_000;
const SAMPLES: u32 = RATE / 2;

/// The body of a probe.
pub(super) fn body(work: Work, model: &str, prompt: &str) -> Bytes {
    let json = match work {
        Work::Transcription | Work::Translation => return form(model),
        Work::Embedding | Work::Moderation => json!({ "model": model, "input": prompt }),
        Work::Image => json!({ "model": model, "prompt": prompt, "n": 1 }),
        Work::Speech => json!({ "model": model, "input": "Ready.", "voice": "alloy" }),
        Work::Completion => json!({ "model": model, "prompt": prompt, "max_tokens": 4, "stream": true }),
        Work::Chat => json!({
            "model": model, "stream": true, "stream_options": {"include_usage": true},
            "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": prompt}],
        }),
    };
    json.to_string().into()
}

fn form(model: &str) -> Bytes {
    let head = "Content-Disposition: form-data; name=";
    let mut form = format!(
        "--probe\r\n{head}\"model\"\r\n\r\n{model}\r\n--probe\r\n{head}\"file\"; filename=\"silence.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(&silence());
    form.extend_from_slice(b"\r\n--probe--\r\n");
    form.into()
}

/// A WAV file: one channel of 16 bits, all of them zero.
fn silence() -> Vec<u8> {
    let bytes = SAMPLES * 2;
    let mut wav = b"RIFF".to_vec();
    wav.extend_from_slice(&(36 + bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&(RATE * 2).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.resize(wav.len() + bytes as usize, 0);
    wav
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;

    #[test]
    fn every_probe_is_a_request_that_a_customer_might_send() {
        for work in [
            Work::Chat,
            Work::Completion,
            Work::Embedding,
            Work::Moderation,
            Work::Image,
            Work::Speech,
            Work::Transcription,
            Work::Translation,
        ] {
            let body = body(work, "engine.gguf", "ready?");
            assert_eq!(Envelope::parse_for(work, &body).unwrap().model, "engine.gguf");
        }
    }
}
