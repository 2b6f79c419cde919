//! Whether what transactions are paid with lasts.

use std::sync::atomic::Ordering;

use onchain::At;

use super::Ethereum;
use crate::Error;
use crate::store::transfers;

/// An epoch takes three calls: its tree is proposed, activated and claimed.
const CALLS_OF_AN_EPOCH: u128 = 3;
/// With gas for fewer epochs somebody has to send more: one is a day, and three are a weekend.
const LEAST_EPOCHS: u32 = 3;
/// What calls cost is judged by the dearest of so many, which is ten days of them.
const LOOKED_AT: i64 = 30;
/// A millionth of a coin, in wei.
const MICRO: u128 = 1_000_000_000_000;

/// What the sender has to pay transactions with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gas {
    /// In wei.
    pub wei: u128,
    /// For how many epochs that is, when each call costs as much as the dearest of late.
    pub epochs: u32,
}

impl Gas {
    /// Whether somebody has to send more.
    #[must_use]
    pub const fn is_low(&self) -> bool {
        self.epochs < LEAST_EPOCHS
    }
}

impl Ethereum {
    /// What there is, and how long it lasts. Before the first transaction each is taken to cost all it may.
    ///
    /// # Errors
    /// [`Error::Chain`]; [`Error::Database`].
    pub async fn gas(&self) -> Result<Gas, Error> {
        let wei = self.first().balance(self.account(), At::Latest).await?;
        let dearest = transfers::find_dearest(&mut *self.db().acquire().await?, LOOKED_AT).await?;
        let dearest = dearest.and_then(|wei| wei.to_string().parse().ok());
        let epoch = dearest.unwrap_or_else(|| self.config().fee_limit()).saturating_mul(CALLS_OF_AN_EPOCH).max(1);
        Ok(Gas { wei, epochs: u32::try_from(wei / epoch).unwrap_or(u32::MAX) })
    }

    /// Tells how much there is, and once when it gets low.
    pub(super) async fn watch_gas(&self) -> Result<(), Error> {
        let gas = self.gas().await?;
        let micro_eth = u32::try_from(gas.wei / MICRO).unwrap_or(u32::MAX);
        metrics::gauge!("steelyard_billing_chain_gas_micro_eth").set(f64::from(micro_eth));
        metrics::gauge!("steelyard_billing_chain_gas_epochs").set(f64::from(gas.epochs));
        match (self.0.is_gas_low.swap(gas.is_low(), Ordering::Relaxed), gas.is_low()) {
            (false, true) => {
                let account = self.sender().account;
                tracing::error!(%account, micro_eth, epochs = gas.epochs, "gas is running out: send more to the proposer");
            }
            (true, false) => tracing::info!(micro_eth, epochs = gas.epochs, "there is enough gas again"),
            _ => {}
        }
        Ok(())
    }
}
