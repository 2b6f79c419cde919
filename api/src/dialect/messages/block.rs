//! The content blocks of a message, as frames and whole.

use bytes::BytesMut;

use super::arguments::Progress;
use crate::dialect::render::put;
use crate::envelope::json::{Cursor, decode};

/// One block. Texts are the insides of string literals.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// What is not sent yet, of a stream; all of it, of a whole answer.
    pub(super) body: String,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Thinking,
    ToolUse(Call),
}

/// What a call is known by.
#[derive(Debug)]
pub(super) struct Call {
    /// Which of the answer's calls; `None` for one in the older form.
    pub(super) index: Option<u32>,
    /// Plain text.
    pub(super) id: String,
    /// The inside of a string literal.
    pub(super) name: String,
    pub(super) progress: Progress,
}

impl Block {
    /// Whether text of this sort goes on in this block.
    pub(super) fn takes(&self, thinking: bool) -> bool {
        match self.kind {
            Kind::Text => !thinking,
            Kind::Thinking => thinking,
            Kind::ToolUse(_) => false,
        }
    }

    /// Whether nothing more can come once another block has begun: text is over then, but calls may be told in
    /// turns.
    pub(super) fn is_complete(&self) -> bool {
        match &self.kind {
            Kind::Text | Kind::Thinking => true,
            Kind::ToolUse(call) => call.progress.is_complete(),
        }
    }

    /// The call with this index, if this block is one.
    pub(super) fn call(&mut self, index: Option<u32>) -> Option<(&mut Call, &mut String)> {
        match &mut self.kind {
            Kind::ToolUse(call) if call.index == index => Some((call, &mut self.body)),
            _ => None,
        }
    }

    /// Opens the block.
    pub(super) fn write_start(&self, index: usize, out: &mut BytesMut) {
        put(
            out,
            format_args!(
                "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":"
            ),
        );
        self.write(out, "", "{}");
        out.extend_from_slice(b"}\n\n");
    }

    /// Sends what has come since the last time.
    pub(super) fn write_delta(&mut self, index: usize, out: &mut BytesMut) {
        if self.body.is_empty() {
            return;
        }
        let (kind, key) = match self.kind {
            Kind::Text => ("text_delta", "text"),
            Kind::Thinking => ("thinking_delta", "thinking"),
            Kind::ToolUse(_) => ("input_json_delta", "partial_json"),
        };
        write_delta(index, kind, key, &self.body, out);
        self.body.clear();
    }

    /// Closes the block. Thinking ends with its signature: empty, as we vouch for no model's thoughts and check
    /// none, yet told, as clients take it for the sign that a thought may be sent back.
    pub(super) fn write_stop(&self, index: usize, out: &mut BytesMut) {
        if matches!(self.kind, Kind::Thinking) {
            write_delta(index, "signature_delta", "signature", "", out);
        }
        put(
            out,
            format_args!("event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"),
        );
    }

    /// Writes the block as part of a whole message.
    pub(super) fn write_whole(&self, out: &mut BytesMut) {
        match self.kind {
            Kind::ToolUse(_) => self.write(out, "", &input(&self.body)),
            Kind::Text | Kind::Thinking => self.write(out, &self.body, ""),
        }
    }

    fn write(&self, out: &mut BytesMut, text: &str, input: &str) {
        match &self.kind {
            Kind::Text => put(out, format_args!("{{\"type\":\"text\",\"text\":\"{text}\",\"citations\":null}}")),
            Kind::Thinking => {
                put(out, format_args!("{{\"type\":\"thinking\",\"thinking\":\"{text}\",\"signature\":\"\"}}"));
            }
            Kind::ToolUse(Call { id, name, .. }) => put(
                out,
                format_args!(
                    "{{\"type\":\"tool_use\",\"id\":\"{id}\",\"name\":\"{name}\",\"input\":{input},\"caller\":{{\"type\":\"direct\"}}}}"
                ),
            ),
        }
    }
}

fn write_delta(index: usize, kind: &str, key: &str, text: &str, out: &mut BytesMut) {
    put(
        out,
        format_args!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{key}\":\""
        ),
    );
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\"}}\n\n");
}

/// The object in a call's arguments. What is no object is wrapped in one under the key Anthropic names for it:
/// taken for `{}` it would run a tool with none of what the model meant.
fn input(arguments: &str) -> String {
    if arguments.is_empty() {
        return "{}".to_owned();
    }
    let text = decode(&format!("\"{arguments}\"")).map(|text| text.trim_ascii().to_owned());
    let is_object = |text: &String| {
        let mut cursor = Cursor::new(text);
        cursor.peek() == Some(b'{') && cursor.value().is_ok() && cursor.end().is_ok()
    };
    text.filter(is_object).unwrap_or_else(|| format!("{{\"INVALID_JSON\":\"{arguments}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::input;

    #[test]
    fn arguments_become_the_object_they_hold() {
        assert_eq!(input(""), "{}");
        assert_eq!(input(r#"{\"a\": [1, \"x\\n\"]}"#), r#"{"a": [1, "x\n"]}"#);
        assert_eq!(input(" {}\\n"), "{}");
    }

    #[test]
    fn arguments_that_are_no_object_are_kept_in_one() {
        for broken in [r#"{\"a\": 1"#, "[1]", "5", r#"{} {}"#, r"\ud83d", "{a:1}"] {
            assert_eq!(input(broken), format!("{{\"INVALID_JSON\":\"{broken}\"}}"));
        }
    }
}
