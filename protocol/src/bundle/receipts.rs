//! The receipts of a statement, each by itself and all together.

use std::collections::BTreeSet;

use super::check::ensure;
use super::{Flaw, KEYS, RECEIPTS, Witness};
use crate::issued::Issued;
use crate::merkle::{Tree, twice};
use crate::statement::Statement;
use crate::typed::Typed as _;
use crate::wallet::Address;
use crate::{AttemptId, NanoUsd};

const NOBODYS: Flaw = Flaw { file: RECEIPTS, what: "a signature is nobody's" };

/// The receipts of a statement, one after another.
pub(super) struct Receipts<'a> {
    statement: &'a Statement,
    keys: &'a [Witness],
    last: Option<AttemptId>,
    leaves: Vec<[u8; 32]>,
    released: Option<NanoUsd>,
    signers: BTreeSet<Address>,
    witnesses: BTreeSet<Address>,
    pub(super) unsigned: u64,
}

impl<'a> Receipts<'a> {
    pub(super) fn new(statement: &'a Statement, keys: &'a [Witness]) -> Self {
        Self {
            statement,
            keys,
            last: None,
            leaves: Vec::new(),
            released: Some(NanoUsd::ZERO),
            signers: BTreeSet::new(),
            witnesses: BTreeSet::new(),
            unsigned: 0,
        }
    }

    pub(super) fn take(&mut self, issued: Issued) -> Result<(), Flaw> {
        let Issued { receipt, signature, report } = issued;
        let domain = &receipt.domain;
        let in_order = self.last.replace(receipt.attempt).is_none_or(|last| last < receipt.attempt);
        ensure(in_order, RECEIPTS, "the receipts are not in order")?;
        ensure(receipt.provider == self.statement.provider, RECEIPTS, "a receipt is another provider's")?;
        let amounts = (receipt.gross, receipt.fee, receipt.net);
        ensure(receipt.priced() == Some(amounts), RECEIPTS, "a receipt is not what counts and price come to")?;
        let digest = receipt.digest(domain);
        let signer = signature.recover(&digest).map_err(|_| NOBODYS)?;
        self.signers.insert(signer);
        self.released = self.released.and_then(|sum| sum.checked_add(receipt.net));
        self.leaves.push(twice(&digest));
        match (receipt.report, report) {
            (None, None) => {
                ensure(receipt.is_unsigned, RECEIPTS, "a report is missing")?;
                self.unsigned += 1;
                Ok(())
            }
            (Some(named), Some(signed)) => {
                let told = (signed.report.attempt, signed.report.node, &signed.ticket);
                ensure(told == (receipt.attempt, receipt.node, &None), RECEIPTS, "a report is about something else")?;
                ensure(signed.report.digest(domain) == named.0, RECEIPTS, "a report is not the one named")?;
                let signer = signed.signer(domain).map_err(|_| NOBODYS)?;
                let known = self.keys.binary_search_by(|witness| witness.key.cmp(&signer)).is_ok();
                self.witnesses.insert(signer);
                ensure(known, RECEIPTS, "a report is signed by a strange key")
            }
            _ => Err(Flaw { file: RECEIPTS, what: "a report is missing, or too much" }),
        }
    }

    pub(super) fn end(&self) -> Result<(), Flaw> {
        let statement = self.statement;
        ensure(self.leaves.len() as u64 == statement.receipts, RECEIPTS, "there are more or fewer than were counted")?;
        ensure(self.released == Some(statement.released), RECEIPTS, "they come to another sum than the statement's")?;
        ensure(Tree::of(self.leaves.clone()).root() == statement.receipts_root, RECEIPTS, "they have another root")?;
        let signers: Vec<Address> = self.signers.iter().copied().collect();
        ensure(signers == statement.receipt_signers, RECEIPTS, "they are signed by others than the statement names")?;
        ensure(self.witnesses.len() == self.keys.len(), KEYS, "a key signed nothing")
    }
}
