//! The body a provider gets: the client's own bytes, minus what is ours, plus what we set.

use super::Envelope;

/// Fields that speak to the gateway or name a person; a provider never sees them.
const WITHHELD: [&str; 7] = ["provider", "models", "user", "safety_identifier", "metadata", "store", "service_tier"];

/// What changes between the client's request and one attempt at an offer.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamEdits<'e> {
    /// The offer's own name for the model.
    pub model: &'e str,
    /// Sets the bound on generated tokens; `None` leaves the client's fields as they are.
    pub max_tokens: Option<u32>,
    /// Sets the seed; `None` leaves the client's.
    pub seed: Option<u32>,
    /// Sends the role `developer` as `system`, for engines that lack it.
    pub developer_role_to_system: bool,
    /// Top-level fields to leave out, such as engine parameters the offer does not declare.
    pub omit: &'e [&'e str],
    /// Asks for the whole answer at once, of an engine known to notice when nobody waits for it any more.
    pub plain: bool,
}

impl Envelope<'_> {
    /// Writes the body for one attempt. Unless `plain` is set it streams and asks for usage; every
    /// other value keeps the exact bytes the client sent.
    pub fn upstream_body(&self, edits: UpstreamEdits<'_>) -> Vec<u8> {
        let size: usize = self.members.iter().map(|member| member.key.len() + member.raw.len() + 4).sum();
        let mut body = Vec::with_capacity(size + edits.model.len() + 96);
        body.push(b'{');
        write_key(&mut body, "model");
        write_string(&mut body, edits.model);
        for member in &self.members {
            let key = member.key.as_ref();
            if replaced(key, &edits) || edits.omit.contains(&key) || (key == "usage" && is_ours(member.raw)) {
                continue;
            }
            body.push(b',');
            write_key(&mut body, key);
            if key == "messages" && edits.developer_role_to_system {
                self.write_messages(&mut body);
            } else {
                body.extend_from_slice(member.raw.as_bytes());
            }
        }
        if let Some(max_tokens) = edits.max_tokens {
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

    fn write_messages(&self, body: &mut Vec<u8>) {
        let mut copied = 0;
        for role in &self.developer_roles {
            body.extend_from_slice(&self.messages.as_bytes()[copied..role.start]);
            body.extend_from_slice(b"\"system\"");
            copied = role.end;
        }
        body.extend_from_slice(&self.messages.as_bytes()[copied..]);
    }
}

fn replaced(key: &str, edits: &UpstreamEdits<'_>) -> bool {
    match key {
        "model" | "stream" | "stream_options" => true,
        "max_tokens" | "max_completion_tokens" => edits.max_tokens.is_some(),
        "seed" => edits.seed.is_some(),
        key => WITHHELD.contains(&key),
    }
}

/// Whether a `usage` field is the request for a usage chunk, rather than something of the engine's.
fn is_ours(raw: &str) -> bool {
    let mut ours = true;
    let read = super::json::Cursor::new(raw).object(|cursor, key| {
        ours &= key == "include";
        cursor.value().map(drop)
    });
    read.is_ok() && ours
}

fn write_key(body: &mut Vec<u8>, key: &str) {
    write_string(body, key);
    body.push(b':');
}

fn write_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("writing text into memory cannot fail");
}
