//! The proposer's key. Whatever signs a hash will do: a file here, a key service elsewhere.

use std::path::Path;
use std::sync::Arc;

use alloy_signer::Signer;
use alloy_signer_local::PrivateKeySigner;

use crate::Error;
use crate::rail::ChainConfig;

/// Signs hashes for one account.
pub(super) type Key = Arc<dyn Signer + Send + Sync>;

/// Opens the keystore file of the configuration. Slow on purpose: whoever has the file has to guess the password.
pub(super) async fn open(config: &ChainConfig) -> Result<Key, Error> {
    let missing = |what: &str| Error::ChainKey { reason: format!("payouts.chain.{what} is not set") };
    let file = config.keystore.clone().ok_or_else(|| missing("keystore"))?;
    let password = config.keystore_password_file.clone().ok_or_else(|| missing("keystore_password_file"))?;
    let opening = tokio::task::spawn_blocking(move || read(&file, &password));
    opening.await.unwrap_or_else(|_| Err(Error::ChainKey { reason: "opening the keystore panicked".to_owned() }))
}

fn read(file: &Path, password: &Path) -> Result<Key, Error> {
    let text = std::fs::read_to_string(password)
        .map_err(|error| Error::ChainKey { reason: format!("{}: {error}", password.display()) })?;
    let password = text.lines().next().unwrap_or_default();
    let key = PrivateKeySigner::decrypt_keystore(file, password)
        .map_err(|error| Error::ChainKey { reason: format!("{}: {error}", file.display()) })?;
    Ok(Arc::new(key))
}
