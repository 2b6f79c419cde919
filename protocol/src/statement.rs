//! What an epoch owes one provider and why, and the document that ties all of them to a payout tree.
//!
//! Both are canonical JSON: the fields in this order, no spaces. Their hash is the keccak of those very bytes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::token::TokenAmount;
use crate::typed::{Domain, Fields, Typed, Word, keccak};
use crate::wallet::{Address, Signed, Wallet, WalletError};
use crate::{NanoUsd, ProviderId, ReceiptId};

/// What a token was worth when an epoch was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRef {
    /// Who said so.
    pub source: String,
    /// Dollars for one whole token.
    pub usd_per_token: NanoUsd,
    /// Digits behind the point of the token.
    pub decimals: u8,
    /// When, in Unix seconds.
    pub observed_at: i64,
}

/// What a dispute changed after its receipt was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// About which receipt.
    pub receipt: ReceiptId,
    /// Paid on top.
    pub amount: NanoUsd,
}

/// Why an amount was carried over instead of being paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// Too little to be worth its gas.
    BelowMinimum,
    /// The payout account is being changed.
    PayeeChange,
    /// Whoever would be paid may not be, as far as is known.
    Screening,
    /// No payout account at this chain.
    NoPayee,
}

/// What an epoch owes one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Which epoch.
    pub epoch: u64,
    /// Where it is paid.
    pub domain: Domain,
    /// Whose.
    pub provider: ProviderId,
    /// The provider's wallet, under whose word its nodes sign.
    pub wallet: Address,
    /// Who may be paid by the leaf; `None` where there is none.
    pub payee: Option<Address>,
    /// Over the digests of its receipts.
    pub receipts_root: Word,
    /// Who signed them: the broker's receipt key, and the one before while a new one takes over.
    pub receipt_signers: Vec<Address>,
    /// How many there are.
    pub receipts: u64,
    /// What they come to.
    pub released: NanoUsd,
    /// What disputes added.
    pub adjustments: Vec<Adjustment>,
    /// Left over by the statement before.
    pub carried_in: NanoUsd,
    /// Left over for the next.
    pub carried_out: NanoUsd,
    /// Why all of it was, when it was.
    pub waiting: Option<Waiting>,
    /// What turned dollars into tokens.
    pub price: PriceRef,
    /// What this epoch adds.
    pub tokens: TokenAmount,
    /// What all epochs before it came to.
    pub before: TokenAmount,
    /// The sum of both, as it stands in the leaf.
    pub cumulative: TokenAmount,
    /// The hash of the statement before, if there was one.
    pub previous: Option<Word>,
    /// The broker's receipt key.
    pub signer: Address,
}

/// What an epoch comes to as a whole. Its hash is on chain beside the root of the leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which epoch.
    pub epoch: u64,
    /// Under which number the contract gets the tree; `None` where the tree stayed as it was.
    pub proposal: Option<u64>,
    /// Where it is paid.
    pub domain: Domain,
    /// What was released until then can be in it, in Unix seconds.
    pub ends_at: i64,
    /// Over the hashes of the statements.
    pub statements_root: Word,
    /// How many there are.
    pub statements: u64,
    /// Over the leaves of every provider that was ever owed tokens.
    pub leaves_root: Word,
    /// How many there are.
    pub leaves: u64,
    /// What the leaves come to.
    pub total: TokenAmount,
    /// Of everything the epoch was built from: the same input gives the same tree.
    pub input: Word,
    /// The broker's receipt key.
    pub signer: Address,
}

/// A document of ours, with the signature of the broker's receipt key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed<T> {
    /// What is signed.
    pub document: T,
    /// Over its kind and hash.
    pub signature: Signed,
}

/// Something that is signed by its canonical bytes.
pub trait Document: Serialize + DeserializeOwned {
    /// Keeps a signature over one kind from counting for another.
    const KIND: &'static str;

    /// The only bytes it has.
    fn canonical_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain values with text for keys are JSON")
    }

    /// Their hash.
    fn hash(&self) -> Word {
        Word(keccak(&self.canonical_bytes()))
    }

    /// Signs it.
    fn seal(self, key: &Wallet, domain: &Domain) -> Sealed<Self> {
        let signature = key.sign_digest(&Named::of(&self).digest(domain));
        Sealed { document: self, signature }
    }
}

impl Document for Statement {
    const KIND: &'static str = "statement";
}

impl Document for Manifest {
    const KIND: &'static str = "manifest";
}

impl<T: Document> Sealed<T> {
    /// Who signed it.
    ///
    /// # Errors
    /// [`WalletError::Signature`] when nobody did.
    pub fn signer(&self, domain: &Domain) -> Result<Address, WalletError> {
        self.signature.recover(&Named::of(&self.document).digest(domain))
    }
}

struct Named {
    kind: &'static str,
    hash: Word,
}

impl Named {
    fn of<T: Document>(document: &T) -> Self {
        Self { kind: T::KIND, hash: document.hash() }
    }
}

impl Typed for Named {
    const TYPE: &'static str = "Document(string kind,bytes32 hash)";

    fn fields(&self, to: &mut Fields) {
        to.text(self.kind).word(&self.hash.0);
    }
}

impl PriceRef {
    /// Turns dollars into tokens, rounded down to a base unit, and says how many dollars that used up, rounded up to a
    /// nano. `None` when the price is zero or the amounts leave 128 bits.
    #[must_use]
    pub fn convert(&self, due: NanoUsd) -> Option<(u128, NanoUsd)> {
        let (due, price) = (u128::try_from(due.nano()).ok()?, u128::try_from(self.usd_per_token.nano()).ok()?);
        let unit = 10_u128.checked_pow(self.decimals.into())?;
        let tokens = due.checked_mul(unit)?.checked_div(price)?;
        let used = tokens.checked_mul(price)?.div_ceil(unit);
        Some((tokens, i64::try_from(used).ok().and_then(NanoUsd::new)?))
    }
}

impl Statement {
    /// Everything it has to pay.
    ///
    /// `None` past the largest amount.
    #[must_use]
    pub fn due(&self) -> Option<NanoUsd> {
        let start = self.carried_in.checked_add(self.released)?;
        self.adjustments.iter().try_fold(start, |sum, adjustment| sum.checked_add(adjustment.amount))
    }

    /// With what is paid and what is left over, worked out from the rest: all of it is carried over while it waits.
    ///
    /// `None` when an amount leaves its range.
    #[must_use]
    pub fn converted(self) -> Option<Self> {
        let due = self.due()?;
        let (tokens, used) = match self.waiting {
            Some(_) => (0, NanoUsd::ZERO),
            None => self.price.convert(due)?,
        };
        let tokens = TokenAmount::from(tokens);
        let cumulative = self.before.checked_add(tokens)?;
        Some(Self { tokens, cumulative, carried_out: due.checked_sub(used)?, ..self })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents_are_signed_as_another_implementation_signs_them() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../tests/golden/typed_data.json")).unwrap();
        let domain = Domain { chain_id: 31_337, distributor: Address::from_bytes([0x5f; 20]) };
        let named = Named { kind: Manifest::KIND, hash: Word([0x11; 32]) };
        assert_eq!(hex::encode(named.digest(&domain)), golden["document"]["digest"]);
    }

    proptest! {
        #[test]
        fn no_dollar_is_lost_and_none_is_paid_twice_in_tokens(
            due in 0..i64::MAX, price in 1..10_000_000_000_000_i64, decimals in 0..=18_u8,
        ) {
            let (due, usd_per_token) = (NanoUsd::new(due).unwrap(), NanoUsd::new(price).unwrap());
            let price = PriceRef { source: "test".into(), usd_per_token, decimals, observed_at: 0 };
            let (tokens, used) = price.convert(due).unwrap();
            prop_assert!(used <= due);
            let (next, _) = price.convert(due.checked_sub(used).unwrap()).unwrap();
            prop_assert_eq!(next, 0, "what is left over is less than a base unit");
            prop_assert!(tokens == 0 || used > NanoUsd::ZERO);
        }
    }
}
