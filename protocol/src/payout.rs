//! Where a provider is paid, and the word of two accounts that it shall be elsewhere.

use serde::{Deserialize, Serialize};

use crate::ProviderId;
use crate::id::Id;
use crate::typed::{Fields, Typed};
use crate::wallet::Address;

/// A change of the account a provider is paid to, signed by the old and by the new one: whoever has one of them alone
/// moves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutChange {
    /// Whose.
    pub provider: ProviderId,
    /// Its number: one more than that of the change before, so that no old word counts again.
    pub nonce: u64,
    /// The account until now, in CAIP-10.
    pub from: String,
    /// The account from then on.
    pub to: String,
}

impl Typed for PayoutChange {
    const TYPE: &'static str = "PayoutChange(bytes16 provider,uint64 nonce,string from,string to)";

    fn fields(&self, to: &mut Fields) {
        to.id(self.provider.uuid()).uint(self.nonce.into()).text(&self.from).text(&self.to);
    }
}

/// The chain and the address of an `eip155` account in CAIP-10; `None` for any other.
#[must_use]
pub fn parse_account(text: &str) -> Option<(u64, Address)> {
    let (chain, address) = text.strip_prefix("eip155:")?.split_once(':')?;
    Some((chain.parse().ok()?, address.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_change_is_signed_as_another_implementation_signs_it() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../tests/golden/typed_data.json")).unwrap();
        let change = PayoutChange {
            provider: ProviderId::from_uuid(Uuid::from_u128(11)),
            nonce: 1,
            from: "eip155:8453:0xa".into(),
            to: "eip155:8453:0xb".into(),
        };
        assert_eq!(hex::encode(change.digest_anywhere()), golden["payout_change"]["digest"]);
    }

    #[test]
    fn an_account_is_a_chain_and_an_address() {
        let address: Address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        assert_eq!(parse_account(&format!("eip155:8453:{address}")), Some((8_453, address)));
        assert_eq!(parse_account("solana:x:y"), None);
    }
}
