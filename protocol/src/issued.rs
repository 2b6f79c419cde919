//! The receipt a broker gives for one attempt: what was counted in the end, at which price, and what it comes to.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::price::{Price, Prices, Units};
use crate::receipt::SignedReport;
use crate::typed::{Domain, Fields, Typed, Word};
use crate::wallet::Signed;
use crate::{AttemptId, NanoUsd, NodeId, OfferId, ProviderId, ReceiptId, RequestId};

/// The expense under which work is booked that users paid for: the only one the platform takes its share of.
pub const PAID_BY_USERS: &str = "provider_cost";

/// A provider's price of every class, none left to its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Per prompt token.
    pub prompt: Price,
    /// Per prompt token read from a cache.
    pub cached_prompt: Price,
    /// Per prompt token written to a cache.
    pub cache_write: Price,
    /// Per output token.
    pub completion: Price,
    /// Per hidden reasoning token.
    pub internal_reasoning: Price,
    /// Per request.
    pub request: Price,
}

/// What one attempt comes to. Never edited: what a dispute changes is paid as an adjustment beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The instance it, and the report it rests on, were signed for.
    pub domain: Domain,
    /// Which attempt. The receipt's id shares its UUID.
    pub attempt: AttemptId,
    /// The request it was for.
    pub request: RequestId,
    /// Who earns.
    pub provider: ProviderId,
    /// The machine.
    pub node: NodeId,
    /// The offer.
    pub offer: OfferId,
    /// The price, pinned at dispatch.
    pub price_version: u32,
    /// The model.
    pub model: String,
    /// What is paid for, by the count that decides.
    pub units: Units,
    /// Tokens of another's text that it had to read to go on with it, paid as prompt.
    pub reread: u32,
    /// The provider's price of that version.
    pub rates: Rates,
    /// The platform's share on top of it, in basis points.
    pub take_bps: u32,
    /// How the attempt ended.
    pub outcome: String,
    /// Which expense it is: [`PAID_BY_USERS`], or the platform's own.
    pub cost_kind: String,
    /// What the work costs whoever pays for it.
    pub gross: NanoUsd,
    /// The platform's share of that.
    pub fee: NanoUsd,
    /// The provider's.
    pub net: NanoUsd,
    /// When it was dispatched, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it ended.
    pub finished_at_ms: i64,
    /// When it entered the books.
    pub settled_at_ms: i64,
    /// The digest of the node's report; `None` when it never came.
    pub report: Option<Word>,
    /// Nobody signed for it in time.
    pub is_unsigned: bool,
    /// The report counts otherwise, by more than chance.
    pub is_apart: bool,
    /// Known only by its report: the replica that dispatched it died.
    pub is_recovered: bool,
}

/// A receipt with the broker's signature, and the report it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// What is signed.
    pub receipt: Receipt,
    /// Over [`Typed::digest`] for its domain, by the broker's receipt key.
    pub signature: Signed,
    /// The node's own word, without its ticket.
    pub report: Option<SignedReport>,
}

impl From<&Prices> for Rates {
    fn from(prices: &Prices) -> Self {
        Self {
            prompt: prices.prompt,
            cached_prompt: prices.cached_prompt.unwrap_or(prices.prompt),
            cache_write: prices.cache_write.unwrap_or(prices.prompt),
            completion: prices.completion,
            internal_reasoning: prices.internal_reasoning.unwrap_or(prices.completion),
            request: prices.request,
        }
    }
}

impl Rates {
    /// What a provider earns for `units`, rounded down; `None` past the largest amount.
    #[must_use]
    pub fn earning(&self, units: &Units) -> Option<NanoUsd> {
        let prices = Prices {
            prompt: self.prompt,
            cached_prompt: Some(self.cached_prompt),
            cache_write: Some(self.cache_write),
            completion: self.completion,
            internal_reasoning: Some(self.internal_reasoning),
            request: self.request,
        };
        prices.earning(units)
    }
}

impl Receipt {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> ReceiptId {
        ReceiptId::from_uuid(self.attempt.uuid())
    }

    /// Works out again what counts and price come to: gross, fee and net. `None` past the largest amount.
    #[must_use]
    pub fn priced(&self) -> Option<(NanoUsd, NanoUsd, NanoUsd)> {
        let earned = self.rates.earning(&self.units)?;
        let reread = self.rates.earning(&Units { prompt: self.reread, ..Units::default() })?;
        let net = earned.checked_add(reread)?;
        let fee = if self.cost_kind == PAID_BY_USERS { fee(earned, self.take_bps)? } else { NanoUsd::ZERO };
        Some((net.checked_add(fee)?, fee, net))
    }

    /// With what it comes to; `None` past the largest amount.
    #[must_use]
    pub fn with_price(self) -> Option<Self> {
        let (gross, fee, net) = self.priced()?;
        Some(Self { gross, fee, net, ..self })
    }
}

/// The platform's share on top of what was earned, rounded half up to a nano.
fn fee(earned: NanoUsd, take_bps: u32) -> Option<NanoUsd> {
    let share = (i128::from(earned.nano()) * i128::from(take_bps) + 5_000) / 10_000;
    i64::try_from(share).ok().and_then(NanoUsd::new)
}

impl Typed for Rates {
    const TYPE: &'static str = "Rates(uint64 prompt,uint64 cachedPrompt,uint64 cacheWrite,uint64 completion,\
                                uint64 internalReasoning,uint64 request)";

    fn fields(&self, to: &mut Fields) {
        let rates =
            [self.prompt, self.cached_prompt, self.cache_write, self.completion, self.internal_reasoning, self.request];
        for rate in rates {
            to.uint(rate.pico().unsigned_abs().into());
        }
    }
}

impl Typed for Receipt {
    const TYPE: &'static str = "Receipt(bytes16 attempt,bytes16 request,bytes16 provider,bytes16 node,bytes16 offer,\
                                uint32 priceVersion,string model,Units units,uint32 reread,Rates rates,uint32 takeBps,\
                                string outcome,string costKind,uint64 grossNanoUsd,uint64 feeNanoUsd,\
                                uint64 netNanoUsd,int64 startedAtMs,int64 finishedAtMs,int64 settledAtMs,\
                                bytes32 report,bool isUnsigned,bool isApart,bool isRecovered)\
                                Rates(uint64 prompt,uint64 cachedPrompt,uint64 cacheWrite,uint64 completion,\
                                uint64 internalReasoning,uint64 request)\
                                Units(uint32 prompt,uint32 cachedPrompt,uint32 cacheWrite,uint32 completion,\
                                uint32 internalReasoning,uint32 request)";

    fn fields(&self, to: &mut Fields) {
        to.id(self.attempt.uuid()).id(self.request.uuid()).id(self.provider.uuid());
        to.id(self.node.uuid()).id(self.offer.uuid()).uint(self.price_version.into()).text(&self.model);
        to.holds(&self.units).uint(self.reread.into()).holds(&self.rates).uint(self.take_bps.into());
        to.text(&self.outcome).text(&self.cost_kind);
        for amount in [self.gross, self.fee, self.net] {
            to.uint(amount.nano().unsigned_abs().into());
        }
        to.int(self.started_at_ms).int(self.finished_at_ms).int(self.settled_at_ms);
        to.word(&self.report.unwrap_or(Word::ZERO).0);
        to.flag(self.is_unsigned).flag(self.is_apart).flag(self.is_recovered);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wallet::{Address, Wallet};
    use uuid::Uuid;

    #[test]
    fn a_receipt_is_priced_by_itself_and_signed_as_another_implementation_signs_it() {
        let price = |pico| Price::from_pico(pico).unwrap();
        let prices = Prices { prompt: price(1_000_000), completion: price(2_000_000), ..Prices::default() };
        let domain = Domain { chain_id: 31_337, distributor: Address::from_bytes([0x5f; 20]) };
        let receipt = Receipt {
            domain,
            attempt: AttemptId::from_uuid(Uuid::from_u128(1)),
            request: RequestId::from_uuid(Uuid::from_u128(2)),
            provider: ProviderId::from_uuid(Uuid::from_u128(3)),
            node: NodeId::from_uuid(Uuid::from_u128(4)),
            offer: OfferId::from_uuid(Uuid::from_u128(5)),
            price_version: 6,
            model: "org/name".into(),
            units: Units { prompt: 10, completion: 5, request: 1, ..Units::default() },
            reread: 0,
            rates: Rates::from(&prices),
            take_bps: 1_000,
            outcome: "completed".into(),
            cost_kind: PAID_BY_USERS.into(),
            gross: NanoUsd::ZERO,
            fee: NanoUsd::ZERO,
            net: NanoUsd::ZERO,
            started_at_ms: 7,
            finished_at_ms: 8,
            settled_at_ms: 9,
            report: Some(Word([0xee; 32])),
            is_unsigned: false,
            is_apart: true,
            is_recovered: false,
        };
        let receipt = receipt.with_price().unwrap();
        assert_eq!([receipt.gross, receipt.fee, receipt.net].map(NanoUsd::nano), [22_000, 2_000, 20_000]);
        let own = Receipt { cost_kind: "fault_cost".into(), reread: 7, ..receipt.clone() }.with_price().unwrap();
        assert_eq!([own.gross, own.fee, own.net].map(NanoUsd::nano), [27_000, 0, 27_000]);

        let golden: serde_json::Value = serde_json::from_str(include_str!("../tests/golden/typed_data.json")).unwrap();
        let digest = receipt.digest(&domain);
        assert_eq!(hex::encode(digest), golden["receipt"]["digest"]);
        let signature = Wallet::from_bytes(&[7; 32]).unwrap().sign_digest(&digest);
        assert_eq!(signature.to_string(), golden["receipt"]["signature"]);
    }
}
