//! Everything a provider needs to check one payout by itself, and the check, down to each receipt.
//!
//! Every byte counts: a file that is not in its one canonical form, or that says anything else than what was signed,
//! is a flaw.

mod check;
mod receipts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::issued::Issued;
use crate::merkle::Leaf;
use crate::statement::{Document, Manifest, Sealed, Statement};
use crate::typed::Word;
use crate::wallet::{Address, Signed};

/// The manifest, as its hash is on chain.
pub const MANIFEST: &str = "manifest.json";
/// The broker's signature over it.
pub const MANIFEST_SIGNATURE: &str = "manifest.sig.json";
/// Every leaf of the tree, by provider.
pub const LEAVES: &str = "leaves.json";
/// The provider's statement, signed.
pub const STATEMENT: &str = "statement.json";
/// The way from it to the manifest's root of statements.
pub const STATEMENT_PROOF: &str = "statement.proof.json";
/// The statement before, where there was one.
pub const PREVIOUS: &str = "previous.json";
/// The receipts, one a line, by attempt.
pub const RECEIPTS: &str = "receipts.jsonl";
/// The keys that signed the nodes' reports.
pub const KEYS: &str = "keys.json";

/// Every name a file of a bundle may have.
pub const FILES: [&str; 8] =
    [MANIFEST, MANIFEST_SIGNATURE, LEAVES, STATEMENT, STATEMENT_PROOF, PREVIOUS, RECEIPTS, KEYS];

/// The files of one payout, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle(pub BTreeMap<&'static str, Vec<u8>>);

/// What a bundle is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What the epoch comes to.
    pub manifest: &'a Sealed<Manifest>,
    /// The whole tree, by provider.
    pub leaves: &'a [Leaf],
    /// What it owes the provider.
    pub statement: &'a Sealed<Statement>,
    /// The way from there to the manifest.
    pub proof: &'a [Word],
    /// The provider's statement before.
    pub previous: Option<&'a Sealed<Statement>>,
    /// What is paid, by attempt.
    pub receipts: &'a [Issued],
    /// The keys that signed the reports among them, by address.
    pub keys: &'a [Witness],
}

/// What is wrong with a bundle, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct Flaw {
    /// In which file.
    pub file: &'static str,
    /// In a few words.
    pub what: &'static str,
}

/// A key that signed reports, and the wallet's word for it where it gave one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The key.
    pub key: Address,
    /// By the provider's wallet, over [`crate::receipt::ReceiptKey`]. Without it the broker took the node's own word.
    pub delegation: Option<Signed>,
}

/// A payout that is what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The statement.
    pub statement: Statement,
    /// What the contract must say for the epoch.
    pub manifest_hash: Word,
    /// The root it must have.
    pub leaves_root: Word,
    /// How the leaf is claimed there; `None` where nothing was ever paid.
    pub claim: Option<Vec<Word>>,
    /// Receipts without a report.
    pub unsigned: u64,
    /// Keys that no wallet vouched for.
    pub unvouched: u64,
}

impl Bundle {
    /// Puts a payout into files.
    #[must_use]
    pub fn of(parts: &Parts<'_>) -> Self {
        let mut files = BTreeMap::from([
            (MANIFEST, parts.manifest.document.canonical_bytes()),
            (MANIFEST_SIGNATURE, bytes(&parts.manifest.signature)),
            (LEAVES, bytes(parts.leaves)),
            (STATEMENT, bytes(parts.statement)),
            (STATEMENT_PROOF, bytes(parts.proof)),
            (RECEIPTS, lines(parts.receipts)),
            (KEYS, bytes(parts.keys)),
        ]);
        if let Some(previous) = parts.previous {
            files.insert(PREVIOUS, bytes(previous));
        }
        Self(files)
    }

    /// Reads what there is of a bundle, wherever its files lie. What is missing is found by [`Bundle::verify`].
    pub fn read_from(mut file: impl FnMut(&'static str) -> Option<Vec<u8>>) -> Self {
        Self(FILES.into_iter().filter_map(|name| Some((name, file(name)?))).collect())
    }
}

/// Receipts as lines, so that a long list can be read piece by piece.
#[must_use]
pub fn lines(receipts: &[Issued]) -> Vec<u8> {
    let line = |issued: &Issued| [bytes(issued).as_slice(), b"\n"].concat();
    receipts.iter().flat_map(line).collect()
}

/// The canonical bytes of any part.
pub fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain values with text for keys are JSON")
}
