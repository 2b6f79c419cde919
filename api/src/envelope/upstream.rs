//! The body a provider gets: the client's own bytes for what engines understand, and what we set.

use super::{Envelope, Subject, Work};

/// Fields every engine may get as they are. Any other reaches an engine only when its offer declares it: some
/// engines have fields of their own that pass by a limit on tokens or name a slot of the machine.
const CHAT: [&str; 23] = [
    "messages",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
];
/// The same for completions.
const COMPLETION: [&str; 10] = [
    "prompt",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "logit_bias",
    "logprobs",
    "presence_penalty",
    "frequency_penalty",
];
/// And for vectors.
const EMBEDDING: [&str; 2] = ["input", "encoding_format"];
const MODERATION: [&str; 1] = ["input"];
const IMAGE: [&str; 10] = [
    "prompt",
    "n",
    "size",
    "quality",
    "style",
    "response_format",
    "background",
    "output_format",
    "output_compression",
    "moderation",
];
const SPEECH: [&str; 5] = ["input", "voice", "instructions", "response_format", "speed"];
/// Fields that speak to the gateway, are written anew, or name a person: not even for an offer that declares them.
const OURS: [&str; 14] = [
    "model",
    "models",
    "provider",
    "stream",
    "stream_options",
    "usage",
    "max_tokens",
    "max_completion_tokens",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
];

/// What changes between the client's request and one attempt at an offer.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamEdits<'e> {
    /// The offer's own name for the model.
    pub model: &'e str,
    /// Sets the seed; `None` leaves the client's.
    pub seed: Option<u32>,
    /// Sends the role `developer` as `system`, for engines that lack it.
    pub developer_role_to_system: bool,
    /// Parameters the offer declares.
    pub declared: &'e [String],
    /// Asks for the whole answer at once, of an engine known to notice when nobody waits for it any more.
    pub plain: bool,
}

impl Envelope<'_> {
    /// Writes the body for one attempt. Unless `plain` is set it streams and asks for usage; every
    /// other value keeps the exact bytes the client sent. There is one limit on tokens, the one that was held for.
    pub fn upstream_body(&self, edits: UpstreamEdits<'_>) -> Vec<u8> {
        if let Subject::Form(form) = &self.subject {
            return form.upstream(edits.model, edits.declared);
        }
        let size: usize = self.members.iter().map(|member| member.key.len() + member.raw.len() + 4).sum();
        let mut body = Vec::with_capacity(size + edits.model.len() + 96);
        body.push(b'{');
        write_key(&mut body, "model");
        write_string(&mut body, edits.model);
        for member in &self.members {
            let key = member.key.as_ref();
            if !self.forwards(key, &edits) {
                continue;
            }
            body.push(b',');
            write_key(&mut body, key);
            match &self.subject {
                Subject::Messages(messages) if key == "messages" && edits.developer_role_to_system => {
                    self.write_messages(messages, &mut body);
                }
                _ => body.extend_from_slice(member.raw.as_bytes()),
            }
        }
        if !self.work.is_written() {
            body.push(b'}');
            return body;
        }
        if let Some(max_tokens) = self.max_tokens {
            body.extend_from_slice(format!(",\"max_tokens\":{max_tokens}").as_bytes());
        }
        if let Some(seed) = edits.seed {
            body.extend_from_slice(format!(",\"seed\":{seed}").as_bytes());
        }
        let how: &[u8] = if edits.plain {
            b",\"stream\":false}"
        } else {
            b",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
        };
        body.extend_from_slice(how);
        body
    }

    fn forwards(&self, key: &str, edits: &UpstreamEdits<'_>) -> bool {
        let known: &[&str] = match self.work {
            Work::Chat => &CHAT,
            Work::Completion => &COMPLETION,
            Work::Embedding => &EMBEDDING,
            Work::Moderation => &MODERATION,
            Work::Image => &IMAGE,
            Work::Speech => &SPEECH,
            // Forms know their own parts.
            Work::Transcription | Work::Translation => &[],
        };
        if key == "seed" && edits.seed.is_some() {
            return false;
        }
        known.contains(&key) || (!OURS.contains(&key) && edits.declared.iter().any(|name| name == key))
    }

    fn write_messages(&self, messages: &str, body: &mut Vec<u8>) {
        let mut copied = 0;
        for role in &self.developer_roles {
            body.extend_from_slice(&messages.as_bytes()[copied..role.start]);
            body.extend_from_slice(b"\"system\"");
            copied = role.end;
        }
        body.extend_from_slice(&messages.as_bytes()[copied..]);
    }
}

fn write_key(body: &mut Vec<u8>, key: &str) {
    write_string(body, key);
    body.push(b':');
}

fn write_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("writing text into memory cannot fail");
}
