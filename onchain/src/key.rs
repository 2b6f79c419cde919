//! Keys of accounts. Whatever signs a hash will do: a file here, a key service elsewhere.

#[cfg(feature = "aws-kms")]
mod kms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_signer::Signer;
use alloy_signer_local::PrivateKeySigner;
use protocol::wallet::Address;

use crate::Error;
use crate::contract::ours;

/// Signs hashes for one account. Cheap to clone.
#[derive(Clone)]
pub struct Key(pub(crate) Arc<dyn Signer + Send + Sync>);

impl Key {
    /// The key in an encrypted keystore file, under the first line of another. Slow on purpose: whoever has the file has
    /// to guess the password.
    ///
    /// # Errors
    /// [`Error::Unfit`] names the file.
    pub async fn open(file: PathBuf, password_file: PathBuf) -> Result<Self, Error> {
        let opening = tokio::task::spawn_blocking(move || read(&file, &password_file));
        opening.await.unwrap_or_else(|_| Err(Error::Unfit { reason: "opening the keystore panicked".to_owned() }))
    }

    /// The key of `account` that AWS KMS keeps under this id, alias or ARN, of the kind `ECC_SECG_P256K1` for signing.
    /// Credentials and region are looked for where the AWS command line looks. The service is first asked for the first
    /// signature, and refused as long as its key is another account's.
    #[cfg(feature = "aws-kms")]
    #[must_use]
    pub fn in_aws_kms(id: String, account: Address, endpoint: Option<String>) -> Self {
        Self(Arc::new(kms::Kept::new(id, crate::contract::theirs(account), endpoint)))
    }

    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> Address {
        ours(self.0.address())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.account())
    }
}

fn read(file: &Path, password_file: &Path) -> Result<Key, Error> {
    let unfit = |path: &Path, reason: String| Error::Unfit { reason: format!("{}: {reason}", path.display()) };
    let text = std::fs::read_to_string(password_file).map_err(|error| unfit(password_file, error.to_string()))?;
    let password = text.lines().next().unwrap_or_default();
    let key = PrivateKeySigner::decrypt_keystore(file, password).map_err(|error| unfit(file, error.to_string()))?;
    Ok(Key(Arc::new(key)))
}
