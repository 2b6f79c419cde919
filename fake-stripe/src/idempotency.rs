//! What Stripe does with an `Idempotency-Key`: the first answer is given again, other parameters are refused,
//! and so is a second request while the first runs.

use std::collections::HashMap;

use serde_json::Value;

use crate::refusal::Refusal;

/// A key is forgotten after this many seconds.
const KEPT_FOR: i64 = 24 * 3_600;

/// What a key stands for.
#[derive(Debug, Clone)]
struct Kept {
    parameters: String,
    since: i64,
    /// `None` while the first request runs.
    answer: Option<(u16, Value)>,
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Kept>);

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub enum Claim {
    /// It is the first: carry it out, then say how it ended.
    First,
    /// It came before: this was the answer.
    Replay(u16, Value),
}

impl Keys {
    /// Looks a key up, and takes it for a request that is the first.
    ///
    /// # Errors
    /// Other parameters, or a first request that has not ended.
    pub fn claim(&mut self, key: &str, parameters: &str, now: i64) -> Result<Claim, Refusal> {
        self.0.retain(|_, kept| now - kept.since < KEPT_FOR);
        match self.0.get(key) {
            None => {
                let kept = Kept { parameters: parameters.to_owned(), since: now, answer: None };
                self.0.insert(key.to_owned(), kept);
                Ok(Claim::First)
            }
            Some(kept) if kept.parameters != parameters => Err(Refusal::other_parameters(key)),
            Some(Kept { answer: None, .. }) => Err(Refusal::key_in_use()),
            Some(Kept { answer: Some((status, body)), .. }) => Ok(Claim::Replay(*status, body.clone())),
        }
    }

    /// Keeps the answer of a first request; what was refused before anything happened frees its key again.
    pub fn finish(&mut self, key: &str, status: u16, body: &Value) {
        if matches!(status, 400 | 401 | 404 | 429) {
            self.0.remove(key);
        } else if let Some(kept) = self.0.get_mut(key) {
            kept.answer = Some((status, body.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_replayed_guarded_and_forgotten_after_a_day() {
        let mut keys = Keys::default();
        assert_eq!(keys.claim("k", "a=1", 0), Ok(Claim::First));
        assert_eq!(keys.claim("k", "a=1", 1).map_err(|refusal| refusal.status), Err(409));
        keys.finish("k", 200, &json!({ "id": "x" }));
        assert_eq!(keys.claim("k", "a=1", 2), Ok(Claim::Replay(200, json!({ "id": "x" }))));
        assert_eq!(keys.claim("k", "a=2", 3).map_err(|refusal| refusal.status), Err(400));
        assert_eq!(keys.claim("k", "a=2", KEPT_FOR), Ok(Claim::First));
        keys.finish("k", 400, &json!({}));
        assert_eq!(keys.claim("k", "a=3", KEPT_FOR), Ok(Claim::First));
    }
}
