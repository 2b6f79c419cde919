//! Typed data as wallets sign it (EIP-712): what a struct holds, what it is called, and where it counts.

use std::fmt;
use std::str::FromStr;

use sha3::{Digest, Keccak256};
use uuid::Uuid;

use crate::wallet::Address;

/// The name every signature of ours is made under.
const NAME: &str = "Steelyard";
/// Its revision: the same name with other fields would be another protocol.
const VERSION: &str = "1";

/// A hash as it is written: `0x` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Word(pub [u8; 32]);

/// A text that is no [`Word`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 0x and 64 lower-case hex digits")]
pub struct ParseWordError;

impl Word {
    /// No hash at all.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Word {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, ParseWordError> {
        let digits = text.strip_prefix("0x").ok_or(ParseWordError)?;
        crate::text::lower_hex(digits).map(Self).ok_or(ParseWordError)
    }
}

crate::text::text_value!(Word);

/// The instance of the payout contract that usage is settled at. What is signed for one counts at no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Domain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The `PayoutDistributor`.
    pub distributor: Address,
}

impl Domain {
    fn separator(&self) -> [u8; 32] {
        let kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        let mut fields = Fields::named(kind);
        fields.text(NAME).text(VERSION).uint(self.chain_id.into()).address(&self.distributor);
        keccak(&fields.0)
    }
}

/// A struct that can be signed.
pub trait Typed {
    /// Its name and fields, then the structs it holds, in EIP-712's `encodeType`.
    const TYPE: &'static str;

    /// Writes its fields, in the order of [`Typed::TYPE`].
    fn fields(&self, to: &mut Fields);

    /// Its own hash, as another struct holds it.
    fn hash(&self) -> [u8; 32] {
        let mut fields = Fields::named(Self::TYPE);
        self.fields(&mut fields);
        keccak(&fields.0)
    }

    /// What is signed for `domain`.
    fn digest(&self, domain: &Domain) -> [u8; 32] {
        prefixed(&domain.separator(), &self.hash())
    }

    /// What is signed by someone for whom it shall count at every instance, those to come included.
    fn digest_anywhere(&self) -> [u8; 32] {
        let mut fields = Fields::named("EIP712Domain(string name,string version)");
        fields.text(NAME).text(VERSION);
        prefixed(&keccak(&fields.0), &self.hash())
    }
}

/// Fields on their way into a hash, each 32 bytes wide.
pub struct Fields(Vec<u8>);

impl Fields {
    fn named(kind: &str) -> Self {
        Self(keccak(kind.as_bytes()).to_vec())
    }

    /// A `bytes32`.
    pub fn word(&mut self, word: &[u8; 32]) -> &mut Self {
        self.0.extend_from_slice(word);
        self
    }

    /// A `uint` of any width.
    pub fn uint(&mut self, value: u128) -> &mut Self {
        self.0.extend_from_slice(&[0; 16]);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An `int` of any width.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&[if value < 0 { 0xff } else { 0 }; 24]);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A `bool`.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.uint(value.into())
    }

    /// A `bytes16`: fixed bytes stand at the left.
    pub fn id(&mut self, id: Uuid) -> &mut Self {
        self.0.extend_from_slice(id.as_bytes());
        self.0.extend_from_slice(&[0; 16]);
        self
    }

    /// An `address`: a number, at the right.
    pub fn address(&mut self, address: &Address) -> &mut Self {
        self.0.extend_from_slice(&[0; 12]);
        self.0.extend_from_slice(address.bytes());
        self
    }

    /// A `string`.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.word(&keccak(text.as_bytes()))
    }

    /// A struct within.
    pub fn holds(&mut self, inner: &impl Typed) -> &mut Self {
        self.word(&inner.hash())
    }
}

/// The one hash of the chain.
#[must_use]
pub fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

fn prefixed(separator: &[u8; 32], hash: &[u8; 32]) -> [u8; 32] {
    let mut bytes = [0; 66];
    bytes[..2].copy_from_slice(b"\x19\x01");
    bytes[2..34].copy_from_slice(separator);
    bytes[34..].copy_from_slice(hash);
    keccak(&bytes)
}
