//! From what an epoch froze to its statements, its tree and its manifest: pure, so the same freeze gives the same bytes.

use std::collections::BTreeMap;

use protocol::bundle;
use protocol::merkle::{Leaf, Tree, twice};
use protocol::statement::{Adjustment, Document as _, Manifest, PriceRef, Statement, Waiting};
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word, keccak};
use protocol::wallet::Address;
use protocol::{NanoUsd, ProviderId};
use serde::Serialize;

/// Everything an epoch is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Which epoch.
    pub epoch: u64,
    /// Under which number the contract would get its tree.
    pub next_proposal: u64,
    /// Where it is paid.
    pub domain: Domain,
    /// What was released until then is in it, in Unix seconds.
    pub ends_at: i64,
    /// What turns dollars into tokens.
    pub price: PriceRef,
    /// Less than this is carried over.
    pub min_payout: NanoUsd,
    /// The broker's receipt key.
    pub signer: Address,
    /// The tree before, by provider.
    pub leaves: Vec<Leaf>,
    /// Who may be owed something, by provider.
    pub providers: Vec<Owed>,
}

/// What is frozen about one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owed {
    /// Which.
    pub provider: ProviderId,
    /// Its wallet.
    pub wallet: Address,
    /// Who is paid, where anybody can be.
    pub account: Option<Address>,
    /// Why nobody is.
    pub blocked: Option<Waiting>,
    /// What its receipts come to.
    pub receipts: Receipts,
    /// What disputes added.
    pub adjustments: Vec<Adjustment>,
    /// Where its last statement ended.
    pub last: Option<Last>,
}

/// Receipts in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Receipts {
    /// Over their digests.
    pub root: Word,
    /// How many.
    pub count: u64,
    /// Who signed them, by address.
    pub signers: Vec<Address>,
    /// Their sum.
    pub released: NanoUsd,
}

/// Where a provider's last statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Last {
    /// Its hash.
    pub hash: Word,
    /// What it carried over.
    pub carried_out: NanoUsd,
    /// All tokens until then.
    pub cumulative: TokenAmount,
    /// Why it paid nothing, where it did not.
    pub waiting: Option<Waiting>,
}

/// What an epoch comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The whole.
    pub manifest: Manifest,
    /// The tree, by provider.
    pub leaves: Vec<Leaf>,
    /// The parts, by provider.
    pub statements: Vec<Statement>,
    /// Over the parts.
    pub tree: Tree,
}

/// Builds an epoch. `None` when an amount leaves its range.
#[must_use]
pub fn build(input: &Input) -> Option<Built> {
    let mut leaves: BTreeMap<ProviderId, Leaf> = input.leaves.iter().map(|leaf| (leaf.provider, *leaf)).collect();
    let mut statements = Vec::with_capacity(input.providers.len());
    for owed in input.providers.iter().filter(|owed| has_news(owed)) {
        let statement = statement(input, owed, leaves.get(&owed.provider))?;
        if let Some(payee) = statement.payee {
            let leaf = Leaf { provider: owed.provider, payee, cumulative: statement.cumulative };
            leaves.insert(owed.provider, leaf);
        }
        statements.push(statement);
    }
    let leaves: Vec<Leaf> = leaves.into_values().collect();
    let total = leaves.iter().try_fold(TokenAmount::ZERO, |sum, leaf| sum.checked_add(leaf.cumulative))?;
    let tree = Tree::of(statements.iter().map(|statement| twice(&statement.hash().0)).collect());
    let pays = statements.iter().any(|statement| !statement.tokens.is_zero());
    let manifest = Manifest {
        epoch: input.epoch,
        proposal: pays.then_some(input.next_proposal),
        domain: input.domain,
        ends_at: input.ends_at,
        statements_root: tree.root(),
        statements: statements.len() as u64,
        leaves_root: Tree::of(leaves.iter().map(|leaf| leaf.hash(&input.domain)).collect()).root(),
        leaves: leaves.len() as u64,
        total,
        input: Word(keccak(&bundle::bytes(input))),
        signer: input.signer,
    };
    Some(Built { manifest, leaves, statements, tree })
}

/// Whether there is anything to say: something new, or something that waited for more than its amount.
fn has_news(owed: &Owed) -> bool {
    let waited = owed.last.and_then(|last| last.waiting).is_some_and(|why| why != Waiting::BelowMinimum);
    owed.receipts.count > 0 || !owed.adjustments.is_empty() || waited
}

fn statement(input: &Input, owed: &Owed, leaf: Option<&Leaf>) -> Option<Statement> {
    let statement = Statement {
        epoch: input.epoch,
        domain: input.domain,
        provider: owed.provider,
        wallet: owed.wallet,
        payee: leaf.map(|leaf| leaf.payee),
        receipts_root: owed.receipts.root,
        receipt_signers: owed.receipts.signers.clone(),
        receipts: owed.receipts.count,
        released: owed.receipts.released,
        adjustments: owed.adjustments.clone(),
        carried_in: owed.last.map_or(NanoUsd::ZERO, |last| last.carried_out),
        carried_out: NanoUsd::ZERO,
        waiting: owed.blocked.or_else(|| owed.account.is_none().then_some(Waiting::NoPayee)),
        price: input.price.clone(),
        tokens: TokenAmount::ZERO,
        before: owed.last.map_or(TokenAmount::ZERO, |last| last.cumulative),
        cumulative: TokenAmount::ZERO,
        previous: owed.last.map(|last| last.hash),
        signer: input.signer,
    };
    let too_little = statement.due()? < input.min_payout || input.price.convert(statement.due()?)?.0 == 0;
    let waiting = statement.waiting.or_else(|| too_little.then_some(Waiting::BelowMinimum));
    let payee = if waiting.is_none() { owed.account } else { statement.payee };
    Statement { waiting, payee, ..statement }.converted()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use protocol::Id as _;
    use uuid::Uuid;

    const DOMAIN: Domain = Domain { chain_id: 1, distributor: Address::from_bytes([1; 20]) };

    fn account(n: u8) -> Address {
        Address::from_bytes([n; 20])
    }

    fn owed(n: u128, released: i64, blocked: Option<Waiting>, last: Option<Last>) -> Owed {
        Owed {
            provider: ProviderId::from_uuid(Uuid::from_u128(n)),
            wallet: account(2),
            account: Some(account(3)),
            blocked,
            receipts: Receipts {
                root: Word([4; 32]),
                count: 1,
                signers: vec![account(5)],
                released: NanoUsd::new(released).unwrap(),
            },
            adjustments: Vec::new(),
            last,
        }
    }

    fn input(epoch: u64, providers: Vec<Owed>, leaves: Vec<Leaf>) -> Input {
        Input {
            epoch,
            next_proposal: epoch,
            domain: DOMAIN,
            ends_at: 7,
            price: PriceRef {
                source: "test".into(),
                usd_per_token: NanoUsd::from_dollars(1),
                decimals: 6,
                observed_at: 7,
            },
            min_payout: NanoUsd::from_dollars(1),
            signer: account(5),
            leaves,
            providers,
        }
    }

    fn last(statement: &Statement) -> Last {
        Last {
            hash: statement.hash(),
            carried_out: statement.carried_out,
            cumulative: statement.cumulative,
            waiting: statement.waiting,
        }
    }

    #[test]
    fn what_is_too_little_or_may_not_be_paid_is_carried_over_and_paid_later() {
        let dollar = 1_000_000_000;
        let first = build(&input(
            1,
            vec![
                owed(1, dollar / 2, None, None),
                owed(2, dollar * 2, Some(Waiting::Screening), None),
                owed(3, dollar * 3 + 1, None, None),
            ],
            Vec::new(),
        ));
        let first = first.unwrap();
        let waiting: Vec<_> = first.statements.iter().map(|statement| statement.waiting).collect();
        assert_eq!(waiting, [Some(Waiting::BelowMinimum), Some(Waiting::Screening), None]);
        assert_eq!((first.leaves.len(), first.manifest.total), (1, TokenAmount::from(3_000_000)));
        assert_eq!(first.statements[2].carried_out.nano(), 1);

        // Nothing new for the first; the second may be paid now; the third has its new account in the leaf.
        let again = |n: u128, at: usize, released| owed(n, released, None, Some(last(&first.statements[at])));
        let mut quiet = again(1, 0, 0);
        quiet.receipts = Receipts::default();
        let mut freed = again(2, 1, 0);
        freed.receipts = Receipts::default();
        let moved = Owed { account: Some(account(9)), ..again(3, 2, dollar) };
        let second = build(&input(2, vec![quiet, freed, moved], first.leaves.clone())).unwrap();
        assert_eq!(second.statements.len(), 2, "who waits for more than an amount hears of it, and nobody else");
        assert_eq!(second.manifest.total, TokenAmount::from(6_000_000));
        assert_eq!(second.leaves[1].payee, account(9));
    }

    #[test]
    fn an_epoch_that_pays_nothing_leaves_the_tree_as_it_is() {
        let built = build(&input(1, vec![owed(1, 5, None, None)], Vec::new())).unwrap();
        assert_eq!((built.manifest.proposal, built.manifest.leaves_root), (None, Word::ZERO));
    }

    proptest! {
        #[test]
        fn epochs_conserve_money_and_the_same_freeze_gives_the_same_bytes(
            days in vec(vec((1..6_u128, 0..5_000_000_000_i64, any::<bool>()), 0..6), 1..8),
        ) {
            let mut lasts = BTreeMap::<u128, Last>::new();
            let mut leaves = Vec::new();
            let (mut earned, mut paid) = (0_i64, TokenAmount::ZERO);
            for (epoch, day) in (1..).zip(days) {
                let day: BTreeMap<u128, (i64, bool)> = day.into_iter().map(|(n, nano, held)| (n, (nano, held))).collect();
                let providers: Vec<Owed> = day
                    .iter()
                    .map(|(n, (nano, held))| {
                        owed(*n, *nano, held.then_some(Waiting::PayeeChange), lasts.get(n).copied())
                    })
                    .collect();
                let input = input(epoch, providers, leaves.clone());
                let built = build(&input).unwrap();
                prop_assert_eq!(&build(&input).unwrap(), &built);
                for statement in &built.statements {
                    earned += statement.released.nano();
                    paid = paid.checked_add(statement.tokens).unwrap();
                    prop_assert!(statement.cumulative >= statement.before);
                    lasts.insert(statement.provider.uuid().as_u128(), last(statement));
                }
                prop_assert_eq!(built.manifest.total, paid, "the leaves are the sum of the statements");
                leaves = built.leaves;
            }
            let carried: i64 = lasts.values().map(|last| last.carried_out.nano()).sum();
            let paid_nano = paid.to_string().parse::<i64>().unwrap() * 1_000;
            prop_assert_eq!(earned, carried + paid_nano);
        }
    }
}
