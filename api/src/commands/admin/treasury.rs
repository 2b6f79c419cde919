//! `steelyard admin treasury …`

mod units;

use billing::account::{AccountKind, LedgerAccount};
use billing::fx::{self, Purchase, Valuation};
use billing::ledger::Coin;
use billing::store::{transfers, valuations};
use billing::{Month, rail};
use clap::ValueEnum;
use protocol::token::TokenAmount;
use protocol::wallet::Address;
use protocol::{NanoUsd, SignedNanoUsd};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{Desk, Error, name};
use crate::store::audit::{self, Entry};

/// Whole tokens of one purchase at most. More is a slip, such as an amount in base units.
const MOST_TOKENS: u32 = 10_000_000;
/// The same of what gas is paid with, of which all payouts of a year need a few.
const MOST_GAS: u32 = 10_000;
/// The most one purchase takes, fees included.
const MOST_USD: NanoUsd = NanoUsd::from_dollars(10_000_000);
/// Valuations of a coin looked through: eighty years of months, each of them valued anew now and then.
const LOOKED_AT: i64 = 1_000;
/// A transaction's hash as text.
const HASH_CHARS: usize = 66;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Book coins that were bought: tokens that providers are paid in, or what gas is paid with.
    ///
    /// Nothing is bought by this, and nothing moves on the chain. It says in the books what came into the treasury or the
    /// gas wallet and what left the bank for it, so that `steelyard reconcile --chain` finds both alike. Book it before its
    /// month is over: what is booked later counts in the month that is valued next.
    Buy(Buy),
    /// Value all coins for a month that is over, at the prices of its end. What is valued already stays.
    ///
    /// The broker does so by itself an hour after a month's end. This is for a month that was taken back with `undo`, or
    /// whose price was in doubt then. Gas that was spent becomes an expense in dollars; the rest is a gain or a loss.
    Value {
        /// Which, such as 2026-10.
        #[arg(long, value_name = "YYYY-MM")]
        month: Month,
    },
    /// Take the valuations of a month back, such as after a wrong price. It must be the last that was valued.
    ///
    /// What they booked is booked the other way round. The broker leaves that month alone afterwards: `value` makes it anew.
    Undo {
        /// Which, such as 2026-10.
        #[arg(long, value_name = "YYYY-MM")]
        month: Month,
    },
    /// What there is of each coin, what it has cost, and how it was valued last.
    Show,
}

#[derive(Debug, clap::Args)]
pub(super) struct Buy {
    /// What was bought.
    #[arg(long, value_enum)]
    coin: Bought,
    /// How much came in, in whole coins and exactly, such as 1000.5.
    #[arg(long, allow_negative_numbers = true)]
    amount: String,
    /// What it took, in dollars.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    usd: NanoUsd,
    /// What the exchange or the bank took on top, in dollars; it is part of what the coins have cost.
    #[arg(long, value_name = "USD", default_value = "0", hide_default_value = true, allow_negative_numbers = true)]
    fee_usd: NanoUsd,
    /// Names the purchase, best by the hash of the transaction that brought it: the same one is booked once, however often
    /// this is run.
    #[arg(long, value_name = "TX_OR_NAME", value_parser = reference)]
    reference: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bought {
    /// The payout token, into the treasury.
    Token,
    /// What gas is paid with, into the gas wallet.
    Gas,
}

/// A coin, as operators name and write it.
#[derive(Debug, Clone, Copy)]
struct Kept {
    name: &'static str,
    coin: Coin,
    digits: u8,
    most: u32,
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Buy(args) => buy(desk, args).await,
        Command::Value { month } => value(desk, month).await,
        Command::Undo { month } => undo(desk, month).await,
        Command::Show => show(desk).await,
    }
}

async fn buy(desk: &Desk, args: Buy) -> Result<Value, Error> {
    let [token, gas] = kept(desk)?;
    let kept = match args.coin {
        Bought::Token => token,
        Bought::Gas => gas,
    };
    let amount = units::read(&args.amount, kept.digits, kept.most);
    let amount = amount.map_err(|reason| Error::Usage(format!("--amount: {reason}")))?;
    if args.usd.is_zero() {
        return Err(Error::Usage("--usd must be above zero".to_owned()));
    }
    let paid = args.usd.checked_add(args.fee_usd).filter(|paid| *paid <= MOST_USD);
    let paid = paid.ok_or_else(|| Error::Usage(format!("--usd: one purchase takes at most {MOST_USD} dollars")))?;
    let bought = Purchase { coin: kept.coin, amount, paid, name: args.reference };
    let mut told = json!({
        "coin": kept.name,
        "currency": kept.coin.to_string(),
        "amount": kept.written(units_of(amount)?),
        "paid_usd": paid,
        "reference": bought.name,
    });
    let mut tx = desk.db.begin().await?;
    let is_new = fx::buy(&mut tx, &desk.env, &bought).await?;
    if is_new {
        let entry = entry(desk, "treasury.bought", &bought.name);
        let mut detail = told.clone();
        detail["fee_usd"] = json!(args.fee_usd);
        audit::insert(&mut tx, entry.with(detail)).await?;
    }
    tx.commit().await?;
    told["booked_now"] = is_new.into();
    Ok(told)
}

async fn value(desk: &Desk, month: Month) -> Result<Value, Error> {
    let all = kept(desk)?;
    let positions = rail::positions(desk.db.clone(), desk.env.clone(), desk.chain_id, &desk.payouts)?;
    let before = standing(desk, &all, month).await?;
    let closed = positions.close(month, desk.env.now()).await;
    let after = standing(desk, &all, month).await?;
    // One coin may be valued although another could not be, so the trace comes first.
    for (kept, valuation) in all.iter().zip(&after).filter_map(|(kept, after)| Some((kept, after.as_ref()?))) {
        if !before.contains(&Some(valuation.clone())) {
            trace(desk, "treasury.valued", kept, valuation).await?;
        }
    }
    closed?;
    let mut rows = Vec::new();
    for ((kept, before), after) in all.iter().zip(&before).zip(&after) {
        let mut row = row(kept, month, after.as_ref());
        row["state"] = match after {
            Some(_) if before == after => "stood already",
            Some(_) => "valued now",
            None if positions.coins().any(|coin| coin == kept.coin) => {
                let why = "is being valued, or an epoch is being booked: run this again";
                return Err(Error::Usage(format!("{} {why}", kept.name)));
            }
            None => "not valued: set payouts.chain.gas_feed",
        }
        .into();
        rows.push(row);
    }
    Ok(rows.into())
}

async fn undo(desk: &Desk, month: Month) -> Result<Value, Error> {
    let all = kept(desk)?;
    let stand = standing(desk, &all, month).await?;
    let stand: Vec<_> = all.iter().zip(&stand).filter(|(_, stands)| stands.is_some()).map(|(kept, _)| kept).collect();
    if stand.is_empty() {
        return Err(Error::Usage(format!("no valuation of {month} stands")));
    }
    let positions = rail::positions(desk.db.clone(), desk.env.clone(), desk.chain_id, &desk.payouts)?;
    let mut rows = Vec::new();
    for kept in stand {
        let undone = positions.undo(month, kept.coin, desk.env.now()).await?;
        trace(desk, "treasury.valuation_undone", kept, &undone).await?;
        let mut row = row(kept, month, Some(&undone));
        row["state"] = "taken back".into();
        rows.push(row);
    }
    Ok(rows.into())
}

async fn show(desk: &Desk) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let mut rows = Vec::new();
    for kept in kept(desk)? {
        let last = valuations::list(&mut conn, kept.coin, LOOKED_AT).await?;
        let last = last.into_iter().find(|valuation| valuation.undone_at.is_none());
        let platform = LedgerAccount::platform;
        // Ether is in no contract and tokens pay for no gas: these are zero.
        let spent = balance(&mut conn, platform(AccountKind::GasExpense), &kept).await?;
        let contract = balance(&mut conn, platform(AccountKind::Distributor), &kept).await?;
        let held = balance(&mut conn, kept.coin.held(), &kept).await?;
        let position = -balance(&mut conn, kept.coin.position(), &kept).await? - spent;
        let cost = transfers::turnover(&mut conn, kept.coin.position()).await?;
        rows.push(json!({
            "coin": kept.name,
            "currency": kept.coin.to_string(),
            "held": kept.written(held),
            "in_contract": kept.written(contract),
            "not_owed": kept.written(position),
            "gas_not_valued": kept.written(spent),
            "cost_usd": SignedNanoUsd::new(cost.debited - cost.credited),
            "valued_for": last.as_ref().map(|last| last.month.to_string()),
            "valued_at": last.as_ref().map(|last| last.valued_at.rfc3339()),
            "price_usd": last.as_ref().map(|last| last.price.usd_per_token),
            "worth_usd": last.as_ref().map(|last| last.worth),
        }));
    }
    Ok(rows.into())
}

/// Token and gas, in this order.
fn kept(desk: &Desk) -> Result<[Kept; 2], Error> {
    let (token, digits) = (desk.payouts.chain.token, desk.payouts.token_decimals);
    // What is booked in no token's name could not be found again once there is one.
    if token == Address::from_bytes([0; 20]) {
        return Err(Error::Usage("there is no token: set payouts.chain.token".to_owned()));
    }
    let token = Kept { name: "token", coin: Coin::Token(desk.chain_id, token), digits, most: MOST_TOKENS };
    let gas = Kept { name: "gas", coin: Coin::Ether, digits: rail::GAS_DECIMALS, most: MOST_GAS };
    Ok([token, gas])
}

impl Kept {
    fn written(&self, units: i128) -> String {
        units::write(units, self.digits)
    }
}

/// Each coin's valuation for a month, if one stands.
async fn standing(desk: &Desk, all: &[Kept], month: Month) -> Result<Vec<Option<Valuation>>, Error> {
    let mut conn = desk.db.acquire().await?;
    let mut standing = Vec::new();
    for kept in all {
        let listed = valuations::list(&mut conn, kept.coin, LOOKED_AT).await?;
        standing.push(listed.into_iter().find(|found| found.month == month && found.undone_at.is_none()));
    }
    Ok(standing)
}

/// What an account has of a coin, in its smallest unit.
async fn balance(conn: &mut PgConnection, account: LedgerAccount, kept: &Kept) -> Result<i128, Error> {
    let (debited, credited) = transfers::coin_turnover(conn, account, &kept.coin).await?;
    Ok(units_of(debited)? - units_of(credited)?)
}

fn units_of(amount: TokenAmount) -> Result<i128, Error> {
    amount.to_string().parse().map_err(|_| Error::Usage(format!("{amount} base units are too many to show")))
}

fn row(kept: &Kept, month: Month, valuation: Option<&Valuation>) -> Value {
    json!({
        "coin": kept.name,
        "month": month.to_string(),
        "price_usd": valuation.map(|found| found.price.usd_per_token),
        "price_source": valuation.map(|found| &found.price.source),
        "not_owed": valuation.map(|found| kept.written(found.position)),
        "cost_usd": valuation.map(|found| found.cost),
        "worth_usd": valuation.map(|found| found.worth),
        "gas_usd": valuation.map(|found| found.spent_usd),
        "gained_usd": valuation.and_then(Valuation::result),
    })
}

/// Beside the booking, which is a transaction of its own and says when it was.
async fn trace(desk: &Desk, action: &'static str, kept: &Kept, valuation: &Valuation) -> Result<(), Error> {
    let mut detail = row(kept, valuation.month, Some(valuation));
    detail["round"] = valuation.round.into();
    let entry = entry(desk, action, valuation.month).with(detail);
    Ok(audit::insert(&mut *desk.db.acquire().await?, entry).await?)
}

fn entry(desk: &Desk, action: &'static str, target: impl ToString) -> Entry {
    Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), action, target)
}

/// A hash is the same in large letters: it must not name a second purchase.
fn reference(text: &str) -> Result<String, String> {
    let text = name(text)?;
    if text.chars().any(char::is_control) {
        return Err("a reference is one line of text".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let is_hash = lower.len() == HASH_CHARS
        && lower.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(if is_hash { lower } else { text })
}
