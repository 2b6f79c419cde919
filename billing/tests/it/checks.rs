//! Every check of the books, on books that are wrong in the way it is there for.

use std::collections::BTreeSet;
use std::time::Duration;

use billing::config::Leasing;
use billing::reconcile::check_all;
use billing::{Booked, BudgetScope, Reset};
use protocol::{KeyId, OrganizationId};
use sqlx::AssertSqlSafe;

use crate::fixture::{World, id, nano};

fn account() -> OrganizationId {
    id(1)
}

/// What must hold, and how to break it: with the triggers and keys out of force that are there to prevent it.
const CORRUPTIONS: [(&str, &str); 37] = [
    ("the trial balance is zero in every currency", "delete from ledger_accounts where kind = 'revenue'"),
    (
        "every transfer has postings, in the currency of their accounts",
        "delete from postings where transfer_id in (select transfer_id from transfers where cause_kind = 'settle')",
    ),
    ("folds are the sums of the postings below the watermark", "update folds set debited = debited + 1"),
    (
        "what moved credit is what is booked below the watermark",
        "update credit_moves set amount_nano_usd = amount_nano_usd + 1",
    ),
    (
        "nothing available is negative, and leases spend what was lent",
        "alter table leases drop constraint leases_check; update leases set spent_nano_usd = lent_nano_usd + 1",
    ),
    (
        "credits are what is available, what leases have not spent and what disputes have frozen",
        "update accounts set available_nano_usd = available_nano_usd + 1",
    ),
    ("grants hold at least what is left of credits", "update grants set remaining_nano_usd = 0"),
    (
        "no lease stays open long after its grace",
        "update replicas set started_at = now() - interval '1 h';
         update leases set expires_at = now() - interval '22 min'",
    ),
    (
        "every window's limit is what is available, lent, spent and late, less what is over",
        "update budget_windows set available_nano_usd = available_nano_usd + 1",
    ),
    (
        "a window opened or resized since its limit was set has that limit",
        "update budget_windows set limit_nano_usd = limit_nano_usd + 1, available_nano_usd = available_nano_usd + 1",
    ),
    (
        "windows count what usage was charged under their limits",
        "update budget_leases set spent_nano_usd = spent_nano_usd - 1, lent_nano_usd = lent_nano_usd - 1",
    ),
    ("one usage row per request, and every attempt has one", "delete from usage"),
    (
        "charges are what each flush moved from credits to revenue",
        "update usage set charge_nano_usd = charge_nano_usd - 1",
    ),
    ("leases spent what usage was charged on them", "update leases set spent_nano_usd = spent_nano_usd - 1"),
    (
        "no charge passes its hold",
        "do $$ declare t regclass; begin
           alter table usage drop constraint usage_check;
           for t in select inhrelid::regclass from pg_inherits where inhparent = 'usage'::regclass loop
             execute format('alter table %s drop constraint if exists usage_check', t);
           end loop;
         end $$;
         update usage set hold_nano_usd = charge_nano_usd - 1",
    ),
    (
        "hourly usage is the sum of usage rows below the watermark",
        "update usage_hours set charge_nano_usd = charge_nano_usd + 1",
    ),
    (
        "earnings are what each flush made payable, provider by provider",
        "update attempts set earn_nano_usd = earn_nano_usd - 1",
    ),
    ("what providers earn for a request is at most its price", "update attempts set earn_nano_usd = earn_nano_usd + 1"),
    (
        "the newest charges and earnings are counts times posted prices",
        "update attempts set completion = completion + 1",
    ),
    (
        "every top-up that was paid is booked with its tax, and no other payment is",
        "insert into topups (topup_id, account_id, amount_nano_usd, state, is_first, payment_intent, created_at,
                             expires_at, paid_at)
         values (gen_random_uuid(), gen_random_uuid(), 10000000, 'paid', true, 'pi_1', now(), now(), now())",
    ),
    (
        "money on its way to cards is what refunds under way have taken",
        "insert into refund_intents (refund_intent_id, account_id, topup_id, grant_id, credit_nano_usd, tax_nano_usd,
                                     state, created_at)
         values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 10000000, 0, 'open', now())",
    ),
    (
        "what disputes hold is booked, and the credit they have is that of their grants",
        "update grants set amount_nano_usd = amount_nano_usd + 1, disputed_nano_usd = 1",
    ),
    (
        "lines of the card processor's account moved what their transfers did",
        "insert into stripe_balance_txns (txn_id, kind, category, currency, amount_cents, fee_cents, created_at,
                                          cause_kind, cause_id)
         select 'txn_1', 'charge', 'charge', 'usd', 1, 0, now(), cause_kind, cause_id from transfers limit 1",
    ),
    (
        "the newest statements and receipts can be built again, byte for byte",
        "insert into documents (document_id, account_id, kind, month, issuer, layout, issued_at, pdf, pdf_sha256, csv,
                                csv_sha256)
         select gen_random_uuid(), account_id, 'statement', '2026-01', 'Steelyard', 1, now(), 'altered',
                sha256('altered'), '', sha256('') from accounts",
    ),
    (
        "every receipt is what its attempt earned",
        r#"insert into receipts (attempt_id, request_id, provider_id, account_id, net_nano_usd, is_unsigned, is_apart,
                               is_recovered, receipt, signature, settled_at, release_at, issued_at)
         select attempt_id, request_id, provider_id, gen_random_uuid(), earn_nano_usd + 1, false, false, false,
                '{"net": "0"}', decode(repeat('00', 65), 'hex'), now(), now(), now() from attempts limit 1"#,
    ),
    (
        "every attempt behind the cursor has its receipt",
        "update receipt_cursor set upto = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
         insert into receipts (attempt_id, request_id, provider_id, account_id, net_nano_usd, is_unsigned, is_apart,
                               is_recovered, receipt, signature, settled_at, release_at, issued_at)
         select overlay(attempt_id::text placing '000000000000' from 25)::uuid, request_id, provider_id,
                gen_random_uuid(), 0, false, false, false, '{}', decode(repeat('00', 65), 'hex'), now(), '9999-01-01',
                '9999-01-01' from attempts limit 1",
    ),
    (
        "no provider's sum of tokens ever falls",
        r#"insert into epochs (epoch, starts_at, ends_at, floor_at, state)
         select n, now(), now() + interval '1 day', now(), 'frozen' from generate_series(1, 2) n;
         insert into statements (epoch, provider_id, wallet, document, signature, cumulative)
         select n, '00000000-0000-0000-0000-000000000001', decode(repeat('00', 20), 'hex'),
                '{"released": "0", "receipts": 0}', decode(repeat('00', 65), 'hex'), 3 - n
           from generate_series(1, 2) n"#,
    ),
    (
        "the leaves of every epoch are its total",
        r#"insert into epochs (epoch, starts_at, ends_at, floor_at, state, manifest, manifest_signature)
         values (1, now(), now() + interval '1 day', now(), 'built', '{"total": "5"}', decode(repeat('00', 65), 'hex'))"#,
    ),
    (
        "every statement is the sum of its receipts",
        r#"insert into epochs (epoch, starts_at, ends_at, floor_at, state)
         values (1, now(), now() + interval '1 day', now(), 'frozen');
         insert into statements (epoch, provider_id, wallet, document, signature, cumulative)
         values (1, gen_random_uuid(), decode(repeat('00', 20), 'hex'), '{"released": "1", "receipts": 1}',
                 decode(repeat('00', 65), 'hex'), 0)"#,
    ),
    (
        "what active epochs turned into tokens is booked",
        r#"insert into epochs (epoch, starts_at, ends_at, floor_at, state, manifest, manifest_signature)
         values (1, now(), now() + interval '1 day', now(), 'active', '{"total": "0"}', decode(repeat('00', 65), 'hex'));
         insert into statements (epoch, provider_id, wallet, document, signature, cumulative)
         values (1, gen_random_uuid(), decode(repeat('00', 20), 'hex'),
                 '{"carried_in": "0", "released": "1", "adjustments": [], "carried_out": "0", "receipts": 0}',
                 decode(repeat('00', 65), 'hex'), 0)"#,
    ),
    (
        "the tokens of every tree on the chain are booked",
        "with t as (insert into transfers (transfer_id, cause_kind, cause_id)
                    values (gen_random_uuid(), 'epoch_tokens', '1') returning transfer_id)
         insert into postings (transfer_id, line, currency, debit, credit, amount)
         select t.transfer_id, 1, p.currency, p.debit, p.credit, 1 from t, (select * from postings limit 1) p",
    ),
    (
        "every claim and every funding on the chain is booked once",
        "with t as (insert into transfers (transfer_id, cause_kind, cause_id)
                    values (gen_random_uuid(), 'chain', '0x00/0') returning transfer_id)
         insert into postings (transfer_id, line, currency, debit, credit, amount)
         select t.transfer_id, 1, p.currency, p.debit, p.credit, 1 from t, (select * from postings limit 1) p",
    ),
    (
        "no coin was spent that did not come in",
        "with a as (insert into ledger_accounts (kind, currency) values ('gas_expense', 'ETH'), ('gas_wallet', 'ETH')
                    returning ledger_account_id, kind),
         t as (insert into transfers (transfer_id, cause_kind, cause_id)
               values (gen_random_uuid(), 'gas', '0x00') returning transfer_id)
         insert into postings (transfer_id, line, currency, debit, credit, amount)
         select t.transfer_id, 1, 'ETH', d.ledger_account_id, c.ledger_account_id, 1 from t, a d, a c
          where d.kind = 'gas_expense' and c.kind = 'gas_wallet'",
    ),
    (
        "what coins were worth at the end of months is booked",
        "insert into valuations (month, currency, round, price, position, spent, spent_nano_usd, cost_nano_usd,
                                 worth_nano_usd, valued_at)
         values ('2026-01', 'ETH', 0, '{}', 2, 0, 0, 1, 2, now())",
    ),
    (
        "no nonce is left out",
        "insert into chain_nonces (chain_id, signer, nonce, intent_id, consumed_at, displaced)
         select 1, decode(repeat('00', 20), 'hex'), n, n, now(), true from unnest('{0,2}'::bigint[]) n",
    ),
    (
        "tables that are only added to refuse changes",
        "do $$ declare t regclass; begin
           select tableoid::regclass into t from usage limit 1;
           execute format('drop trigger insert_only_truncate on %s', t);
         end $$",
    ),
    (
        "no settled request waits in quarantine",
        "insert into settle_quarantine (request_id, account_id, row, error)
         values (gen_random_uuid(), gen_random_uuid(), '{}', 'refused')",
    ),
];

#[tokio::test]
async fn every_check_names_the_difference_it_is_there_for() {
    let world = World::new(100).await;
    world.fund(account(), 1_000_000).await;
    let mut tx = world.db.begin().await.unwrap();
    let (scope, budget) = (BudgetScope::Key(id::<KeyId>(1)), uuid::Uuid::from_u128(8));
    billing::store::budgets::set(&mut tx, scope, nano(50_000), Some(Reset::Daily), budget, world.env.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.spend(1_000, 100).await, Booked::Durable);
    fold_something(&world.db).await;
    let _open = world.hold(1_000).await.unwrap();
    world.assert_green().await;
    let mut checked = BTreeSet::new();
    for (check, corruption) in CORRUPTIONS {
        let mut tx = world.db.begin().await.unwrap();
        let corrupt = format!("set local session_replication_role = replica; {corruption}");
        sqlx::raw_sql(AssertSqlSafe(corrupt)).execute(&mut *tx).await.unwrap();
        let report = check_all(&mut tx, &Leasing::default()).await.unwrap();
        tx.rollback().await.unwrap();
        assert!(!report.is_green(), "after {corruption}");
        let wrong: Vec<_> = report.checks.iter().filter(|c| !c.differences.is_empty()).map(|c| c.name).collect();
        assert!(wrong.contains(&check), "after {corruption}: {wrong:?} and not {check:?}");
        checked.insert(check);
    }
    let report = billing::reconcile(&world.db).await.unwrap();
    let all: BTreeSet<_> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(checked, all, "a check nobody has seen fail proves nothing");
}

/// Folds until there are sums of both kinds: a fold leaves out what an older transaction may still add, also one of
/// another database of the server.
async fn fold_something(db: &sqlx::PgPool) {
    let query = "select exists (select from folds) and exists (select from usage_hours)";
    loop {
        billing::run::fold(db).await.unwrap();
        if sqlx::query_scalar::<_, bool>(query).fetch_one(db).await.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_books_are_checked_once_a_night_and_what_differed_is_remembered() {
    let world = World::new(104).await;
    world.fund(account(), 1_000_000).await;
    let (leasing, now) = (Leasing::default(), world.env.now());
    let check = async |at| billing::reconcile::nightly(&world.db, &leasing, at).await.unwrap();
    let first = check(now).await.unwrap();
    assert_eq!((first.checked_at, first.differences), (now, 0));
    assert!(first.checks > 30);
    assert_eq!(check(now).await, None, "once is enough, whichever replica it was");
    // Credit from nowhere: no posting says where it came from.
    let query = "insert into accounts (account_id, available_nano_usd) values (gen_random_uuid(), 1)";
    sqlx::query(query).execute(world.db.pool()).await.unwrap();
    let night = now.plus(Duration::from_secs(86_400));
    // While another replica is at it, nobody else is.
    let mut other = world.db.begin().await.unwrap();
    let lock = "select pg_advisory_xact_lock(hashtextextended('reconcile', 20))";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    assert_eq!(check(night).await, None);
    other.rollback().await.unwrap();
    let found = check(night).await.unwrap();
    assert!(found.differences > 0);
    let last = billing::store::reconciliations::find_last(&mut world.db.acquire().await.unwrap()).await.unwrap();
    assert_eq!(last, Some(found), "a replica that starts now tells of it, too");
    sqlx::query("delete from accounts where available_nano_usd = 1").execute(world.db.pool()).await.unwrap();
    let report = billing::reconcile(&world.db).await.unwrap();
    let noon = night.plus(Duration::from_secs(9 * 3_600));
    let mended = billing::reconcile::remember(&world.db, &report, noon).await.unwrap();
    assert_eq!((mended.differences, check(noon).await), (0, None), "checked by hand once it is mended");
}

#[tokio::test]
async fn leases_left_by_a_long_downtime_are_nobodys_fault_yet() {
    let world = World::new(101).await;
    world.fund(account(), 1_000_000).await;
    let _open = world.hold(1_000).await.unwrap();
    let run = async |statement: &'static str| sqlx::raw_sql(statement).execute(world.db.pool()).await.unwrap();
    // All replicas have been down for five hours, since before the lease was to be reaped.
    run("update leases set expires_at = now() - interval '5 h';
         update replicas set started_at = now() - interval '9 h', seen_at = now() - interval '5 h'")
    .await;
    world.assert_green().await;
    // One has just come back.
    run("insert into replicas (name, boot_id) values ('back', gen_random_uuid())").await;
    world.assert_green().await;
    // It has been back for as long as it takes to reap, and has not.
    run("update replicas set started_at = now() - interval '6 min' where name = 'back'").await;
    let report = billing::reconcile(&world.db).await.unwrap();
    let wrong: Vec<_> = report.checks.iter().filter(|c| !c.differences.is_empty()).map(|c| c.name).collect();
    assert_eq!(wrong, ["no lease stays open long after its grace"]);
}

#[tokio::test]
async fn a_request_sized_limit_on_statements_does_not_bind_the_checks() {
    let world = World::new(102).await;
    world.fund(account(), 1_000_000).await;
    let options = world.db.connect_options().as_ref().clone().options([("statement_timeout", "200")]);
    let hurried = sqlx::postgres::PgPoolOptions::new().connect_with(options).await.unwrap();
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("lock table postings in access exclusive mode").execute(&mut *blocker).await.unwrap();
    let checks = tokio::spawn(async move { billing::reconcile(&hurried).await.map(|report| report.is_green()) });
    tokio::time::sleep(Duration::from_millis(600)).await;
    blocker.rollback().await.unwrap();
    assert!(checks.await.unwrap().unwrap());
}
