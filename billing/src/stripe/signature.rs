//! Whether a webhook comes from the processor: its signature over the raw bytes, and how old it is.

use protocol::Timestamp;
use ring::hmac;

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header, or one that can't be read.
    #[error("the signature header is missing or malformed")]
    Malformed,
    /// Nobody who knows a secret signed this.
    #[error("the signature does not match the body")]
    Forged,
    /// Signed too long ago, or in the future.
    #[error("the signature is dated {seconds} s away from now")]
    Stale {
        /// How far.
        seconds: u64,
    },
}

/// Checks `t=…,v1=…[,v1=…]`: the hex HMAC-SHA256 of `{t}.{body}`, under any of `secrets`, in constant time.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &[&str],
    now: Timestamp,
    tolerance_s: u32,
) -> Result<(), SignatureError> {
    let fields = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let text = fields().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(SignatureError::Malformed)?;
    let dated: i64 = text.parse().map_err(|_| SignatureError::Malformed)?;
    let mut signed = Vec::with_capacity(text.len() + 1 + body.len());
    signed.extend_from_slice(text.as_bytes());
    signed.push(b'.');
    signed.extend_from_slice(body);
    let given: Vec<[u8; 32]> = fields().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| digest(hex)).collect();
    let is_right = secrets.iter().any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        given.iter().any(|tag| hmac::verify(&key, &signed, tag).is_ok())
    });
    if !is_right {
        return Err(if given.is_empty() { SignatureError::Malformed } else { SignatureError::Forged });
    }
    let seconds = now.unix_seconds().abs_diff(dated);
    if seconds > u64::from(tolerance_s) { Err(SignatureError::Stale { seconds }) } else { Ok(()) }
}

/// 64 hex digits as bytes.
fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test`.
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const AT: i64 = 1_492_774_577;
    const V1: &str = "7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2";

    fn check(header: &str, body: &[u8], secrets: &[&str], now: i64) -> Result<(), SignatureError> {
        verify(header, body, secrets, Timestamp::from_unix_seconds(now), 300)
    }

    #[test]
    fn a_signature_under_either_secret_is_believed_for_five_minutes() {
        let header = format!("t={AT},v1={V1},v0=ignored");
        assert_eq!(check(&header, BODY, &["whsec_new", "whsec_test"], AT + 300), Ok(()));
        assert_eq!(check(&header, BODY, &["whsec_test"], AT - 300), Ok(()));
        assert_eq!(check(&header, BODY, &["whsec_test"], AT + 301), Err(SignatureError::Stale { seconds: 301 }));
        assert_eq!(check(&header, BODY, &["whsec_new"], AT), Err(SignatureError::Forged));
        assert_eq!(check(&header, br#"{"id":"evt_2"}"#, &["whsec_test"], AT), Err(SignatureError::Forged));
        let moved = format!("t={},v1={V1}", AT + 1);
        assert_eq!(check(&moved, BODY, &["whsec_test"], AT), Err(SignatureError::Forged));
    }

    #[test]
    fn a_header_that_says_nothing_is_malformed() {
        for header in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,v1=zz", "t=1,v0=00"] {
            assert_eq!(check(header, BODY, &["whsec_test"], AT), Err(SignatureError::Malformed), "{header}");
        }
    }
}
