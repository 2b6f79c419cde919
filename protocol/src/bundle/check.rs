//! The check itself: what each file says must follow from what was signed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::receipts::Receipts;
use super::{
    Bundle, Flaw, KEYS, LEAVES, MANIFEST, MANIFEST_SIGNATURE, PREVIOUS, RECEIPTS, STATEMENT, STATEMENT_PROOF, Verified,
    Witness,
};
use crate::merkle::{Leaf, Tree, leads_to, twice};
use crate::receipt::ReceiptKey;
use crate::statement::{Document as _, Manifest, Sealed, Statement};
use crate::token::TokenAmount;
use crate::typed::{Typed as _, Word};
use crate::wallet::Signed;

impl Bundle {
    /// Checks all of it.
    ///
    /// # Errors
    /// The first [`Flaw`].
    pub fn verify(&self) -> Result<Verified, Flaw> {
        let manifest = self.manifest()?;
        let statement = self.statement(&manifest)?;
        let (unsigned, unvouched) = self.receipts(&statement)?;
        self.continuity(&statement)?;
        let claim = self.leaf(&manifest, &statement)?;
        Ok(Verified {
            leaves_root: manifest.leaves_root,
            manifest_hash: manifest.hash(),
            statement,
            claim,
            unsigned,
            unvouched,
        })
    }

    /// Checks the public part alone: that the manifest is its signer's, and the leaves its. Returns both.
    ///
    /// # Errors
    /// The first [`Flaw`].
    pub fn verify_tree(&self) -> Result<(Manifest, Vec<Leaf>), Flaw> {
        let manifest = self.manifest()?;
        let leaves = self.leaves(&manifest)?;
        Ok((manifest, leaves))
    }

    fn manifest(&self) -> Result<Manifest, Flaw> {
        let manifest: Manifest = self.read(MANIFEST)?;
        let signature: Signed = self.read(MANIFEST_SIGNATURE)?;
        let sealed = Sealed { document: manifest, signature };
        let manifest = &sealed.document;
        ensure(sealed.signer(&manifest.domain) == Ok(manifest.signer), MANIFEST_SIGNATURE, "it is not its signer's")?;
        Ok(sealed.document)
    }

    /// The statement is the broker's, belongs to the manifest, and adds up.
    fn statement(&self, manifest: &Manifest) -> Result<Statement, Flaw> {
        let sealed: Sealed<Statement> = self.read(STATEMENT)?;
        let proof: Vec<Word> = self.read(STATEMENT_PROOF)?;
        ensure(sealed.signer(&manifest.domain) == Ok(manifest.signer), STATEMENT, "it is not the manifest's signer's")?;
        let statement = sealed.document;
        let same =
            (statement.epoch, statement.domain, statement.signer) == (manifest.epoch, manifest.domain, manifest.signer);
        ensure(same, STATEMENT, "it is about another epoch than the manifest")?;
        let leaf = twice(&statement.hash().0);
        ensure(leads_to(&manifest.statements_root, &leaf, &proof), STATEMENT_PROOF, "it leads to another root")?;
        let again = statement.clone().converted();
        ensure(again.as_ref() == Some(&statement), STATEMENT, "it does not add up")?;
        Ok(statement)
    }

    /// Every receipt is the broker's, is priced right, and rests on the report it names; all of them are what the
    /// statement pays. Returns how many have no report, and how many keys no delegation.
    fn receipts(&self, statement: &Statement) -> Result<(u64, u64), Flaw> {
        let keys: Vec<Witness> = self.read(KEYS)?;
        ensure(keys.is_sorted_by(|a, b| a.key < b.key), KEYS, "the keys are not in order")?;
        for witness in &keys {
            let word = ReceiptKey { provider: statement.provider, key: witness.key }.digest_anywhere();
            let vouched = witness.delegation.is_none_or(|signed| signed.recover(&word) == Ok(statement.wallet));
            ensure(vouched, KEYS, "a delegation is not the wallet's")?;
        }
        let mut check = Receipts::new(statement, &keys);
        let bytes = self.file(RECEIPTS)?;
        ensure(bytes.is_empty() || bytes.ends_with(b"\n"), RECEIPTS, "its last line is cut")?;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            check.take(canonical(RECEIPTS, line.strip_suffix(b"\n").unwrap_or(line))?)?;
        }
        check.end()?;
        let unvouched = keys.iter().filter(|witness| witness.delegation.is_none()).count();
        Ok((check.unsigned, unvouched as u64))
    }

    /// What was left over, and what was paid, is what the statement before said.
    fn continuity(&self, statement: &Statement) -> Result<(), Flaw> {
        let Some(hash) = statement.previous else {
            ensure(!self.0.contains_key(PREVIOUS), PREVIOUS, "there is no statement before the first")?;
            let fresh = statement.carried_in.is_zero() && statement.before.is_zero();
            return ensure(fresh, STATEMENT, "the first statement begins with something");
        };
        let previous: Sealed<Statement> = self.read(PREVIOUS)?;
        let signer = previous.signer(&previous.document.domain);
        ensure(signer == Ok(previous.document.signer), PREVIOUS, "it is not its signer's")?;
        let previous = previous.document;
        ensure(previous.hash() == hash, PREVIOUS, "it is not the statement before")?;
        let goes_on = previous.provider == statement.provider
            && previous.epoch < statement.epoch
            && previous.carried_out == statement.carried_in
            && previous.cumulative == statement.before;
        ensure(goes_on, STATEMENT, "it does not go on where the one before ended")
    }

    /// The tree is the manifest's.
    fn leaves(&self, manifest: &Manifest) -> Result<Vec<Leaf>, Flaw> {
        let leaves: Vec<Leaf> = self.read(LEAVES)?;
        ensure(leaves.is_sorted_by(|a, b| a.provider < b.provider), LEAVES, "the leaves are not in order")?;
        ensure(leaves.len() as u64 == manifest.leaves, LEAVES, "some leaves are missing")?;
        let total = leaves.iter().try_fold(TokenAmount::ZERO, |sum, leaf| sum.checked_add(leaf.cumulative));
        ensure(total == Some(manifest.total), LEAVES, "the leaves do not add up to the total")?;
        let tree = Tree::of(leaves.iter().map(|leaf| leaf.hash(&manifest.domain)).collect());
        ensure(tree.root() == manifest.leaves_root, LEAVES, "the leaves have another root")?;
        Ok(leaves)
    }

    /// The tree holds the statement's sum. Returns the proof of the leaf.
    fn leaf(&self, manifest: &Manifest, statement: &Statement) -> Result<Option<Vec<Word>>, Flaw> {
        let leaves = self.leaves(manifest)?;
        let leaf = leaves.iter().find(|leaf| leaf.provider == statement.provider);
        let Some(leaf) = leaf else {
            ensure(statement.cumulative.is_zero() && statement.payee.is_none(), LEAVES, "the provider has no leaf")?;
            return Ok(None);
        };
        let same = (leaf.cumulative, Some(leaf.payee)) == (statement.cumulative, statement.payee);
        ensure(same, LEAVES, "the provider's leaf is not what its statement says")?;
        let tree = Tree::of(leaves.iter().map(|leaf| leaf.hash(&manifest.domain)).collect());
        Ok(tree.proof(&leaf.hash(&manifest.domain)))
    }

    fn file(&self, name: &'static str) -> Result<&[u8], Flaw> {
        self.0.get(name).map(Vec::as_slice).ok_or(Flaw { file: name, what: "it is missing" })
    }

    fn read<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Result<T, Flaw> {
        canonical(name, self.file(name)?)
    }
}

/// Reads JSON that must be in its canonical form: any other spelling of the same would be bytes nobody signed.
pub(super) fn canonical<T: Serialize + DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, Flaw> {
    let value: T = serde_json::from_slice(bytes).map_err(|_| Flaw { file, what: "it can't be read" })?;
    ensure(super::bytes(&value) == bytes, file, "it is not in its canonical form")?;
    Ok(value)
}

pub(super) fn ensure(holds: bool, file: &'static str, what: &'static str) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(Flaw { file, what }) }
}
