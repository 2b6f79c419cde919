//! How a key is written: a prefix that says its kind, 256 random bits, and a checksum.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::Env;

use super::KeyKind;

/// What is stored of a key.
pub type Digest = [u8; 32];

/// 256 bits in url-safe base64.
const RANDOM_CHARS: usize = 43;
/// Lets a scanner, and us, tell a key from a text that merely looks like one without asking anybody.
const CHECKSUM_CHARS: usize = 6;

/// A key in the clear: shown once, then only its digest remains. Not printed by Debug.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new key of `kind`.
    #[must_use]
    pub fn mint(env: &Env, kind: KeyKind) -> Self {
        let random = URL_SAFE_NO_PAD.encode(env.bytes::<32>());
        let text = format!("{}{random}", prefix(kind));
        let sum = checksum(&text);
        Self(text + &sum)
    }

    /// The text to show once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What to store.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }

    /// What a list shows of a key: enough to recognise it, too little to guess it.
    #[must_use]
    pub fn hint(&self) -> String {
        let shown = self.0.len() - RANDOM_CHARS - CHECKSUM_CHARS + 4;
        format!("{}…{}", &self.0[..shown], &self.0[self.0.len() - 4..])
    }

    /// The digest under which `text` would be stored; `None` when it can't be a key of any kind.
    #[must_use]
    pub fn digest_of(text: &str) -> Option<Digest> {
        kind_of(text)?;
        Some(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const fn prefix(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Inference => "sk-",
        KeyKind::Management => "sk-mgmt-",
        KeyKind::Admin => "sk-admin-",
        KeyKind::Provider => "sk-prov-",
    }
}

/// The kind a well-formed key claims. The length decides between `sk-` and the longer prefixes.
fn kind_of(text: &str) -> Option<KeyKind> {
    let kinds = [KeyKind::Inference, KeyKind::Management, KeyKind::Admin, KeyKind::Provider];
    let kind = kinds.into_iter().find(|kind| {
        text.strip_prefix(prefix(*kind)).is_some_and(|rest| rest.len() == RANDOM_CHARS + CHECKSUM_CHARS)
    })?;
    let (body, sum) = text.split_at_checked(text.len() - CHECKSUM_CHARS)?;
    (checksum(body) == sum).then_some(kind)
}

fn checksum(text: &str) -> String {
    let mut encoded = URL_SAFE_NO_PAD.encode(&blake3::hash(text.as_bytes()).as_bytes()[..5]);
    encoded.truncate(CHECKSUM_CHARS);
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Timestamp;

    const KINDS: [KeyKind; 4] = [KeyKind::Inference, KeyKind::Management, KeyKind::Admin, KeyKind::Provider];

    #[test]
    fn a_key_says_its_kind_and_nothing_else_does() {
        let (env, _) = Env::manual(Timestamp::EPOCH, 1);
        for kind in KINDS {
            let secret = Secret::mint(&env, kind);
            assert_eq!(kind_of(secret.expose()), Some(kind));
            assert_eq!(Secret::digest_of(secret.expose()), Some(secret.digest()));
        }
    }

    #[test]
    fn a_mistyped_key_is_told_apart_without_a_lookup() {
        let (env, _) = Env::manual(Timestamp::EPOCH, 1);
        let text = Secret::mint(&env, KeyKind::Inference).expose().to_owned();
        let mut typo = text.clone().into_bytes();
        typo[10] = if typo[10] == b'a' { b'b' } else { b'a' };
        for wrong in
            ["", "sk-", "sk-…", &text[1..], &text[..51], &format!("{text}x"), std::str::from_utf8(&typo).unwrap()]
        {
            assert_eq!(Secret::digest_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_neither_logged_nor_hinted_away() {
        let (env, _) = Env::manual(Timestamp::EPOCH, 1);
        let secret = Secret::mint(&env, KeyKind::Admin);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.hint().chars().count(), "sk-admin-".len() + 4 + 1 + 4);
    }
}
