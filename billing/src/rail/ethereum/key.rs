//! The proposer's key, as the configuration names it.

use onchain::Key;

use crate::Error;
use crate::rail::ChainConfig;

/// Opens it.
pub(super) async fn open(config: &ChainConfig) -> Result<Key, Error> {
    let missing = |what: &str| onchain::Error::Unfit { reason: format!("payouts.chain.{what} is not set") };
    let file = config.keystore.clone().ok_or_else(|| missing("keystore"))?;
    let password = config.keystore_password_file.clone().ok_or_else(|| missing("keystore_password_file"))?;
    Ok(Key::open(file, password).await?)
}
