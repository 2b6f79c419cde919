//! Proof that somebody holds a wallet: EIP-191 personal messages over secp256k1.

use std::fmt;
use std::str::FromStr;

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use sha3::{Digest, Keccak256};

/// A 20-byte EVM address. Prints in EIP-55 mixed case; parses any case, but a mixed-case text must check out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

/// What can be wrong with an address, key or signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// Not `0x` and 40 hex digits.
    #[error("an address is 0x and 40 hex digits")]
    Address,
    /// Mixed case that does not match EIP-55.
    #[error("the address's checksum is wrong: a digit was mistyped")]
    Checksum,
    /// Not 32 bytes of a valid secret.
    #[error("a wallet key is 64 hex digits of a valid secp256k1 secret")]
    Key,
    /// Not a 65-byte signature that recovers to a key.
    #[error("a signature is 0x and 130 hex digits made by personal_sign")]
    Signature,
}

impl Address {
    /// From its raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 20] {
        &self.0
    }

    fn of(key: &PublicKey) -> Self {
        let digest = Keccak256::digest(&key.serialize_uncompressed()[1..]);
        let mut address = [0; 20];
        address.copy_from_slice(&digest[12..]);
        Self(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let digest = Keccak256::digest(lower.as_bytes());
        f.write_str("0x")?;
        for (i, c) in lower.chars().enumerate() {
            let nibble = (digest[i / 2] >> (if i % 2 == 0 { 4 } else { 0 })) & 0xf;
            write!(f, "{}", if nibble >= 8 { c.to_ascii_uppercase() } else { c })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = WalletError;

    fn from_str(text: &str) -> Result<Self, WalletError> {
        let digits = text.strip_prefix("0x").ok_or(WalletError::Address)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| WalletError::Address)?;
        let address = Self(bytes);
        let mixed = digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
        if mixed && address.to_string() != text { Err(WalletError::Checksum) } else { Ok(address) }
    }
}

crate::text::text_value!(Address);

/// A wallet's secret, for `steelyard-node register` and tests. Not printed by Debug; gone from memory when dropped.
pub struct Wallet(SecretKey);

impl Wallet {
    /// From 32 secret bytes.
    ///
    /// # Errors
    /// [`WalletError::Key`] when they are not a valid secret (zero, or past the curve's order).
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, WalletError> {
        SecretKey::from_byte_array(*secret).map(Self).map_err(|_| WalletError::Key)
    }

    /// From hex digits, with or without `0x`.
    ///
    /// # Errors
    /// [`WalletError::Key`].
    pub fn from_hex(text: &str) -> Result<Self, WalletError> {
        let mut secret = [0; 32];
        let digits = text.trim().trim_start_matches("0x");
        hex::decode_to_slice(digits, &mut secret).map_err(|_| WalletError::Key)?;
        Self::from_bytes(&secret)
    }

    /// Where payments to this wallet go.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::of(&self.0.public_key(SECP256K1))
    }

    /// Signs `message` as `personal_sign` does; `0x` and 130 hex digits.
    #[must_use]
    pub fn sign(&self, message: &str) -> String {
        self.sign_digest(&digest(message)).to_string()
    }

    /// Signs a digest, such as [`crate::typed::Typed::digest`].
    #[must_use]
    pub fn sign_digest(&self, digest: &[u8; 32]) -> Signed {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(*digest), &self.0);
        let (recovery, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = if recovery == RecoveryId::Zero { 27 } else { 28 };
        Signed(bytes)
    }
}

impl Drop for Wallet {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address())
    }
}

/// A 65-byte signature in its one spelling: `0x`, lower-case hex, and 27 or 28 at its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signed([u8; 65]);

impl Signed {
    /// From its bytes, wherever they were kept.
    ///
    /// # Errors
    /// [`WalletError::Signature`] when the last is not 27 or 28.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WalletError> {
        let bytes: [u8; 65] = bytes.try_into().map_err(|_| WalletError::Signature)?;
        if matches!(bytes[64], 27 | 28) { Ok(Self(bytes)) } else { Err(WalletError::Signature) }
    }

    /// The raw bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// Who signed `digest`.
    ///
    /// # Errors
    /// [`WalletError::Signature`] when `s` is high, or it recovers to no key.
    pub fn recover(&self, digest: &[u8; 32]) -> Result<Address, WalletError> {
        let recovery = if self.0[64] == 27 { RecoveryId::Zero } else { RecoveryId::One };
        let signature =
            RecoverableSignature::from_compact(&self.0[..64], recovery).map_err(|_| WalletError::Signature)?;
        // A signature and its mirror image would be two spellings of one proof.
        let (given, mut low) = (signature.to_standard(), signature.to_standard());
        low.normalize_s();
        if low != given {
            return Err(WalletError::Signature);
        }
        let key = SECP256K1.recover_ecdsa(Message::from_digest(*digest), &signature);
        key.map(|key| Address::of(&key)).map_err(|_| WalletError::Signature)
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signed {
    type Err = WalletError;

    fn from_str(text: &str) -> Result<Self, WalletError> {
        let digits = text.strip_prefix("0x").ok_or(WalletError::Signature)?;
        Self::from_bytes(&crate::text::lower_hex::<65>(digits).ok_or(WalletError::Signature)?)
    }
}

crate::text::text_value!(Signed);

/// Whose signature over `message` this is.
///
/// # Errors
/// [`WalletError::Signature`] when it is malformed, has a high `s`, or recovers to no key.
pub fn recover(message: &str, signature: &str) -> Result<Address, WalletError> {
    let mut bytes = [0; 65];
    let digits = signature.trim().strip_prefix("0x").ok_or(WalletError::Signature)?;
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| WalletError::Signature)?;
    // Wallets write 27 or 28; some libraries write 0 or 1.
    if bytes[64] < 2 {
        bytes[64] += 27;
    }
    Signed::from_bytes(&bytes)?.recover(&digest(message))
}

/// The digest that EIP-191 version 0x45 signs.
fn digest(message: &str) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    hasher.update(b"\x19Ethereum Signed Message:\n");
    hasher.update(message.len().to_string().as_bytes());
    hasher.update(message.as_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // The first account of the well-known development mnemonic "test test … junk".
    const SECRET: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    #[test]
    fn an_address_follows_from_its_key_with_its_checksum() {
        assert_eq!(Wallet::from_hex(SECRET).unwrap().address().to_string(), ADDRESS);
        assert_eq!(ADDRESS.to_lowercase().parse::<Address>().unwrap().to_string(), ADDRESS);
        assert_eq!(ADDRESS.replace('F', "f").parse::<Address>(), Err(WalletError::Checksum));
    }

    #[test]
    fn a_signature_proves_its_signer_and_nothing_else() {
        let wallet = Wallet::from_hex(SECRET).unwrap();
        let signature = wallet.sign("join");
        assert_eq!(recover("join", &signature).unwrap(), wallet.address());
        assert_ne!(recover("leave", &signature).ok(), Some(wallet.address()));
        assert_eq!(recover("join", "0x00"), Err(WalletError::Signature));
    }

    #[test]
    fn a_signatures_mirror_image_proves_nothing() {
        // The order of the curve, in words of 64 bits, the highest first.
        const ORDER: [u64; 4] =
            [0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFE, 0xBAAE_DCE6_AF48_A03B, 0xBFD2_5E8C_D036_4141];
        let wallet = Wallet::from_hex(SECRET).unwrap();
        let digest = digest("join");
        let signed = wallet.sign_digest(&digest);
        assert_eq!(signed.recover(&digest), Ok(wallet.address()));
        let mut mirrored = *signed.bytes();
        let mut borrow = false;
        for (word, of) in ORDER.iter().enumerate().rev() {
            let place = &mut mirrored[32 + 8 * word..40 + 8 * word];
            let (less, a) = of.overflowing_sub(u64::from_be_bytes((&*place).try_into().unwrap()));
            let (less, b) = less.overflowing_sub(u64::from(borrow));
            borrow = a || b;
            place.copy_from_slice(&less.to_be_bytes());
        }
        mirrored[64] = 55 - mirrored[64];
        assert_eq!(Signed::from_bytes(&mirrored).unwrap().recover(&digest), Err(WalletError::Signature));
    }

    #[test]
    fn a_wallets_signatures_are_the_same_on_every_machine() {
        // RFC 6979 with SHA-256: `cast wallet sign` with the same key prints the same.
        assert_eq!(
            Wallet::from_hex(SECRET).unwrap().sign("join"),
            "0xfb2e2c0ae595c9771696f8fff3384d57558a0dea64c2e5fbff04d400742ad02e4172d288dd7829243ae5b224cc8d96fc1d4cd2114781a2dfd46c089de1e0c39f1b"
        );
    }
}
