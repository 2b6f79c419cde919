//! A bundle is believed as it was made, and no byte of it can be changed.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::issued::{PAID_BY_USERS, Rates, Receipt};
use crate::merkle::{Tree, leads_to, twice};
use crate::receipt::{BodyDigest, ReceiptKey, ReportStatus, UsageReport};
use crate::statement::{Adjustment, PriceRef, Waiting};
use crate::token::TokenAmount;
use crate::typed::{Domain, Typed as _};
use crate::wallet::Wallet;
use crate::{AttemptId, Id, NanoUsd, NodeId, OfferId, Price, Prices, ProviderId, ReceiptId, RequestId, Units};

const DOMAIN: Domain = Domain { chain_id: 31_337, distributor: Address::from_bytes([0x5f; 20]) };

fn wallet(seed: u8) -> Wallet {
    Wallet::from_bytes(&[seed; 32]).unwrap()
}

fn id<T: Id>(n: u128) -> T {
    T::from_uuid(Uuid::from_u128(n))
}

/// The n-th receipt, with its node's report unless it is a multiple of three.
fn issued(n: u32) -> Issued {
    let report = UsageReport {
        attempt: id::<AttemptId>(n.into()),
        request: id::<RequestId>(n.into()),
        node: id::<NodeId>(3),
        offer: id::<OfferId>(4),
        price_version: 5,
        units: Units { prompt: 10 * n, completion: 20 * n, request: 1, ..Units::default() },
        started_at_ms: 6,
        finished_at_ms: 7,
        status: ReportStatus::Completed,
        request_sha256: BodyDigest([8; 32]),
        response_sha256: BodyDigest([9; 32]),
    };
    let signed = (n % 3 != 0).then(|| report.clone().sign(&wallet(2), &DOMAIN, None));
    let prices = Prices { prompt: price(1_000_000), completion: price(2_000_000), ..Prices::default() };
    let receipt = Receipt {
        domain: DOMAIN,
        attempt: report.attempt,
        request: report.request,
        provider: id::<ProviderId>(1),
        node: report.node,
        offer: report.offer,
        price_version: 5,
        model: "org/name".into(),
        units: report.units,
        reread: 0,
        rates: Rates::from(&prices),
        take_bps: 1_000,
        outcome: "completed".into(),
        cost_kind: PAID_BY_USERS.into(),
        gross: NanoUsd::ZERO,
        fee: NanoUsd::ZERO,
        net: NanoUsd::ZERO,
        started_at_ms: 6,
        finished_at_ms: 7,
        settled_at_ms: 8,
        report: signed.is_some().then(|| Word(report.digest(&DOMAIN))),
        is_unsigned: signed.is_none(),
        is_apart: false,
        is_recovered: false,
    };
    let receipt = receipt.with_price().unwrap();
    Issued { signature: wallet(3).sign_digest(&receipt.digest(&DOMAIN)), receipt, report: signed }
}

fn price(pico: i64) -> Price {
    Price::from_pico(pico).unwrap()
}

fn statement(epoch: u64, receipts: &[Issued], previous: Option<&Statement>, waiting: Option<Waiting>) -> Statement {
    let digests = receipts.iter().map(|issued| twice(&issued.receipt.digest(&DOMAIN)));
    let statement = Statement {
        epoch,
        domain: DOMAIN,
        provider: id::<ProviderId>(1),
        wallet: wallet(1).address(),
        payee: None,
        receipts_root: Tree::of(digests.collect()).root(),
        receipt_signers: if receipts.is_empty() { Vec::new() } else { vec![wallet(3).address()] },
        receipts: receipts.len() as u64,
        released: receipts.iter().fold(NanoUsd::ZERO, |sum, issued| sum.checked_add(issued.receipt.net).unwrap()),
        adjustments: vec![Adjustment { receipt: id::<ReceiptId>(77), amount: NanoUsd::new(1_234).unwrap() }],
        carried_in: previous.map_or(NanoUsd::ZERO, |previous| previous.carried_out),
        carried_out: NanoUsd::ZERO,
        waiting,
        price: PriceRef {
            source: "stable".into(),
            usd_per_token: NanoUsd::from_dollars(1),
            decimals: 6,
            observed_at: 9,
        },
        tokens: TokenAmount::ZERO,
        before: previous.map_or(TokenAmount::ZERO, |previous| previous.cumulative),
        cumulative: TokenAmount::ZERO,
        previous: previous.map(Document::hash),
        signer: wallet(3).address(),
    };
    let statement = statement.converted().unwrap();
    Statement { payee: (!statement.cumulative.is_zero()).then(|| wallet(4).address()), ..statement }
}

/// The bundle of one provider among three, after an epoch in which it had to wait.
fn bundle() -> Bundle {
    let earlier = statement(1, &[issued(1)], None, Some(Waiting::BelowMinimum));
    let earlier = earlier.seal(&wallet(3), &DOMAIN);
    let receipts: Vec<Issued> = (2..7).map(issued).collect();
    let statement = statement(2, &receipts, Some(&earlier.document), None);
    let others = [id::<ProviderId>(2), id(3)];
    let mut leaves =
        vec![Leaf { provider: statement.provider, payee: statement.payee.unwrap(), cumulative: statement.cumulative }];
    leaves.extend(others.map(|provider| Leaf {
        provider,
        payee: wallet(5).address(),
        cumulative: TokenAmount::from(9),
    }));
    let hashes = [twice(&statement.hash().0), twice(b"another"), twice(b"a third")];
    let statements = Tree::of(hashes.to_vec());
    let manifest = Manifest {
        epoch: 2,
        proposal: Some(1),
        domain: DOMAIN,
        ends_at: 10,
        statements_root: statements.root(),
        statements: 3,
        leaves_root: Tree::of(leaves.iter().map(|leaf| leaf.hash(&DOMAIN)).collect()).root(),
        leaves: 3,
        total: leaves.iter().fold(TokenAmount::ZERO, |sum, leaf| sum.checked_add(leaf.cumulative).unwrap()),
        input: Word([0xaa; 32]),
        signer: wallet(3).address(),
    };
    let word = ReceiptKey { provider: statement.provider, key: wallet(2).address() }.digest_anywhere();
    let witness = Witness { key: wallet(2).address(), delegation: Some(wallet(1).sign_digest(&word)) };
    Bundle::of(&Parts {
        manifest: &manifest.seal(&wallet(3), &DOMAIN),
        leaves: &leaves,
        proof: &statements.proof(&hashes[0]).unwrap(),
        statement: &statement.seal(&wallet(3), &DOMAIN),
        previous: Some(&earlier),
        receipts: &receipts,
        keys: &[witness],
    })
}

#[test]
fn a_payout_is_verified_from_its_files_alone() {
    let files = bundle();
    let again = Bundle::read_from(|name| files.0.get(name).cloned());
    assert_eq!(again, files);
    let verified = again.verify().unwrap();
    // 10 and 20 tokens for each of 1 + 2 + … + 6, at 1 and 2 dollars a million, and two adjustments: 1 052.468 µ$.
    assert_eq!(verified.statement.cumulative, TokenAmount::from(1_052));
    assert_eq!(verified.statement.carried_out.nano(), 468);
    assert_eq!((verified.unsigned, verified.unvouched), (2, 0));
    let leaf = Leaf {
        provider: verified.statement.provider,
        payee: verified.statement.payee.unwrap(),
        cumulative: verified.statement.cumulative,
    };
    assert!(leads_to(&verified.leaves_root, &leaf.hash(&DOMAIN), &verified.claim.unwrap()));
}

#[test]
fn a_file_that_is_missing_is_named() {
    for name in FILES {
        let mut files = bundle();
        files.0.remove(name);
        assert_eq!(files.verify().unwrap_err().file, name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_altered_byte_is_found(
        name in proptest::sample::select(FILES.to_vec()), at in any::<proptest::sample::Index>(), flip in 1..=255_u8,
    ) {
        static WHOLE: std::sync::OnceLock<Bundle> = std::sync::OnceLock::new();
        let mut files = WHOLE.get_or_init(bundle).clone();
        let bytes = files.0.get_mut(name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(files.verify().is_err(), "byte {at} of {name} was changed by {flip} and nobody saw it");
        // Nor can one be cut out or put in.
        let mut files = WHOLE.get_or_init(bundle).clone();
        files.0.get_mut(name).unwrap().remove(at);
        prop_assert!(files.verify().is_err());
        files.0.get_mut(name).unwrap().insert(at, flip);
        prop_assert!(files.verify().is_err() || files == *WHOLE.get().unwrap());
    }
}
