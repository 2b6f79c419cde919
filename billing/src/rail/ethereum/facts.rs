//! What of the contract's logs is about money, in the ledger's words.

use alloy_primitives::{FixedBytes, LogData};
use alloy_sol_types::SolEventInterface as _;
use onchain::contract::{Events, amount, ours};
use protocol::typed::Word;
use protocol::{Id as _, ProviderId};
use uuid::Uuid;

use crate::store::chain_logs::Fact;

/// Reads a log; `None` for one that says nothing about money.
pub(super) fn fact(log: &LogData) -> Option<Fact> {
    Some(match Events::decode_raw_log(log.topics(), &log.data).ok()? {
        Events::Proposed(told) => Fact::Proposed {
            number: told.epoch,
            root: Word(told.root.0),
            total: amount(told.total),
            manifest_hash: Word(told.manifestHash.0),
            activatable_at: told.activatableAt,
        },
        Events::Activated(told) => Fact::Activated {
            number: told.epoch,
            root: Word(told.root.0),
            total: amount(told.total),
            manifest_hash: Word(told.manifestHash.0),
        },
        Events::Vetoed(told) => Fact::Vetoed { number: told.epoch, root: Word(told.root.0) },
        Events::Claimed(told) => Fact::Claimed {
            number: told.epoch,
            provider: provider(told.provider),
            payee: ours(told.payee),
            amount: amount(told.amount),
            cumulative: amount(told.cumulative),
        },
        Events::ClaimFailed(told) => Fact::ClaimFailed {
            provider: provider(told.provider),
            payee: ours(told.payee),
            reason: hex::encode(told.reason),
        },
        Events::Funded(told) => Fact::Funded { from: ours(told.from), amount: amount(told.amount) },
        _ => return None,
    })
}

fn provider(id: FixedBytes<16>) -> ProviderId {
    ProviderId::from_uuid(Uuid::from_bytes(id.0))
}
