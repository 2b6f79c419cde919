//! Gives each attempt in the books its receipt, once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use protocol::typed::Typed as _;
use protocol::{NanoUsd, OrganizationId, ProviderId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Receipts, recover};
use crate::Error;
use crate::release::{self, Facts};
use crate::store::payees::{self, Payee};
use crate::store::receipts::{self, NewReceipt, Unsigned};

/// Receipts given in one transaction: some 25 ms of signatures.
const AT_ONCE: i64 = 500;
/// How far back it is looked for attempts that came late: partitions exist this long, so nothing comes later.
const SWEPT: Duration = Duration::from_secs(3 * 24 * 3_600);

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given {
    /// Receipts given.
    pub receipts: u64,
    /// Attempts that were known only by their reports.
    pub recovered: u64,
    /// More may be due.
    pub is_full: bool,
}

/// Gives the next attempts their receipts, each once. While another replica is at it, none.
///
/// # Errors
/// When a database call fails; nothing is given then.
pub async fn advance(receipts: &Receipts, now: Timestamp) -> Result<Given, Error> {
    let mut tx = receipts.db().begin().await?;
    let Some((from, to)) = receipts::claim_cursor(&mut tx).await? else { return Ok(Given::default()) };
    let (given, last) = give(receipts, &mut tx, from, to, now).await?;
    receipts::advance_cursor(&mut tx, last.unwrap_or(to.max(from))).await?;
    tx.commit().await?;
    Ok(given)
}

/// The same for attempts behind the cursor, which came into the books or were reported late.
///
/// # Errors
/// As [`advance`].
pub async fn sweep(receipts: &Receipts, now: Timestamp) -> Result<Given, Error> {
    let mut tx = receipts.db().begin().await?;
    let Some((cursor, _)) = receipts::claim_cursor(&mut tx).await? else { return Ok(Given::default()) };
    let (given, _) = give(receipts, &mut tx, receipts::sweep_from(now, SWEPT), cursor, now).await?;
    tx.commit().await?;
    Ok(given)
}

/// Attempts between two ids; the last one looked at, when there may be more.
async fn give(
    receipts: &Receipts,
    conn: &mut PgConnection,
    from: Uuid,
    to: Uuid,
    now: Timestamp,
) -> Result<(Given, Option<Uuid>), Error> {
    let recovered = recover::recover(receipts, conn, from, to, now).await?;
    let due = receipts::list_due(conn, receipts.domain(), from, to, AT_ONCE).await?;
    let is_full = i64::try_from(due.len()).is_ok_and(|found| found == AT_ONCE);
    let last = due.last().filter(|_| is_full).map(|last| protocol::Id::uuid(last.receipt.attempt));
    let releases = releases(conn, &due).await?;
    let signer = receipts.clone();
    // Off the threads that serve.
    let signing = tokio::task::spawn_blocking(move || {
        let sign = |(draft, release_at): (Unsigned, Timestamp)| NewReceipt {
            signature: signer.key().sign_digest(&draft.receipt.digest(signer.domain())),
            draft,
            release_at,
        };
        due.into_iter().zip(releases).map(sign).collect::<Vec<_>>()
    });
    let signed = signing.await.map_err(|_| Error::ReceiptKey)?;
    let given = Given { receipts: receipts::insert(conn, &signed, now).await?, recovered, is_full };
    Ok((given, last))
}

/// When each of these may be paid, in their order.
async fn releases(conn: &mut PgConnection, due: &[Unsigned]) -> Result<Vec<Timestamp>, sqlx::Error> {
    let distinct = |ids: HashSet<Uuid>| ids.into_iter().collect::<Vec<_>>();
    let providers = distinct(due.iter().map(|one| protocol::Id::uuid(one.receipt.provider)).collect());
    let accounts = distinct(due.iter().map(|one| protocol::Id::uuid(one.account)).collect());
    let payees = payees::claim(conn, &providers).await?;
    let mut payees: HashMap<ProviderId, Payee> = payees.into_iter().map(|payee| (payee.provider, payee)).collect();
    let first: HashMap<OrganizationId, Timestamp> =
        payees::list_first_payments(conn, &accounts).await?.into_iter().collect();
    let linked: HashSet<(OrganizationId, ProviderId)> =
        payees::list_linked(conn, &accounts, &providers).await?.into_iter().collect();
    let shares = Shares::of(conn, due, &first).await?;
    let mut releases = Vec::with_capacity(due.len());
    for one in due {
        let (provider, account) = (one.receipt.provider, one.account);
        let payee = payees.get_mut(&provider);
        let mut facts = Facts {
            settled_at: one.settled_at,
            // Of a provider that is not known here nothing is known for it either.
            provider_since: payee.as_ref().map_or(one.settled_at, |payee| payee.since),
            early: payee.as_ref().map_or(NanoUsd::ZERO, |payee| payee.early),
            is_linked: linked.contains(&(account, provider)),
            first_payment_at: first.get(&account).copied(),
            with_provider: NanoUsd::ZERO,
            with_all: NanoUsd::ZERO,
        };
        (facts.with_provider, facts.with_all) = shares.between(account, provider);
        releases.push(release::release_at(&facts));
        if let Some(payee) = payee.filter(|_| release::is_newcomer(&facts)) {
            payee.early = payee.early.saturating_add(one.receipt.net);
        }
    }
    let early: Vec<(ProviderId, NanoUsd)> = payees.values().map(|payee| (payee.provider, payee.early)).collect();
    payees::set_early(conn, &early).await?;
    Ok(releases)
}

/// What new payers have spent, with whom, these receipts included.
struct Shares(HashMap<OrganizationId, HashMap<ProviderId, NanoUsd>>);

impl Shares {
    async fn of(
        conn: &mut PgConnection,
        due: &[Unsigned],
        first: &HashMap<OrganizationId, Timestamp>,
    ) -> Result<Self, sqlx::Error> {
        let is_new = |one: &&Unsigned| release::is_new_payer(first.get(&one.account).copied(), one.settled_at);
        let spent: Vec<_> =
            due.iter().filter(is_new).map(|one| (one.account, one.receipt.provider, one.receipt.net)).collect();
        let mut shares = HashMap::<_, HashMap<_, _>>::new();
        if !spent.is_empty() {
            for (account, provider, net) in payees::add_shares(conn, &spent).await? {
                shares.entry(account).or_default().insert(provider, net);
            }
        }
        Ok(Self(shares))
    }

    fn between(&self, account: OrganizationId, provider: ProviderId) -> (NanoUsd, NanoUsd) {
        let Some(spent) = self.0.get(&account) else { return (NanoUsd::ZERO, NanoUsd::ZERO) };
        let all = spent.values().fold(NanoUsd::ZERO, |sum, net| sum.saturating_add(*net));
        (spent.get(&provider).copied().unwrap_or(NanoUsd::ZERO), all)
    }
}
