//! The key a node signs usage reports with, and the wallet's word that it may.
//!
//! The key is the node's own and never leaves it. The wallet stays with its owner: it signs once that this key speaks
//! for the provider, and that signature lies beside the key.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use protocol::receipt::ReceiptKey;
use protocol::typed::Typed as _;
use protocol::wallet::{Address, Signed, Wallet};
use protocol::{Env, ProviderId};

use crate::Error;
use crate::keys::write_secret;

/// The key's file in the state folder.
const KEY: &str = "receipt.key";
/// The wallet's signature beside it.
const DELEGATION: &str = "receipt.delegation";
/// A random number that is no key comes up less often than a disk fails.
const DRAWS: usize = 4;

/// A receipt key. Clones share it.
#[derive(Clone)]
pub struct ReportKey {
    key: Arc<Wallet>,
    /// The wallet's word for it, if it gave any.
    pub delegation: Option<Signed>,
}

impl ReportKey {
    /// A key for as long as the process lives, which no wallet vouches for.
    ///
    /// # Errors
    /// [`Error::Key`] when chance gives none.
    pub fn generate(env: &Env) -> Result<Self, Error> {
        Ok(Self { key: Arc::new(draw(env)?.1), delegation: None })
    }

    /// The key in `folder`, made first if there is none, with the wallet's word if it lies there.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Key`] when a file holds something else.
    pub fn load_or_generate(folder: &Path, env: &Env) -> Result<Self, Error> {
        let key = Arc::new(load_key(&folder.join(KEY), env)?);
        let path = folder.join(DELEGATION);
        let damaged =
            |_| Error::Key(format!("{} holds no signature; run `steelyard-node vouch` again", path.display()));
        let delegation = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().parse::<Signed>().map_err(damaged)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file(&path, "reading the wallet's word for the receipt key")(error)),
        };
        Ok(Self { key, delegation })
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &Wallet {
        &self.key
    }

    /// What it is known by.
    #[must_use]
    pub fn address(&self) -> Address {
        self.key.address()
    }
}

/// Has the wallet vouch for the receipt key in `folder`, made first if there is none.
///
/// # Errors
/// [`Error::File`] or [`Error::Key`].
pub fn vouch(folder: &Path, provider: ProviderId, wallet: &Wallet, env: &Env) -> Result<Address, Error> {
    let key = load_key(&folder.join(KEY), env)?.address();
    let word = wallet.sign_digest(&ReceiptKey { provider, key }.digest_anywhere());
    write_secret(&folder.join(DELEGATION), &word.to_string())?;
    Ok(key)
}

fn load_key(path: &Path, env: &Env) -> Result<Wallet, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Wallet::from_hex(&text).map_err(|error| Error::Key(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (secret, key) = draw(env)?;
            write_secret(path, &hex::encode(secret))?;
            Ok(key)
        }
        Err(error) => Err(Error::file(path, "reading the receipt key")(error)),
    }
}

fn draw(env: &Env) -> Result<([u8; 32], Wallet), Error> {
    let drawn =
        (0..DRAWS).map(|_| env.bytes::<32>()).find_map(|secret| Some((secret, Wallet::from_bytes(&secret).ok()?)));
    drawn.ok_or_else(|| Error::Key("chance gave no secp256k1 secret".into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Id as _;

    #[test]
    fn a_wallet_vouches_once_and_the_word_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (env, wallet) = (Env::system(), Wallet::from_bytes(&[7; 32]).unwrap());
        let alone = ReportKey::load_or_generate(folder.path(), &env).unwrap();
        assert_eq!(alone.delegation, None);
        let provider = ProviderId::from_uuid(uuid::Uuid::from_u128(1));
        assert_eq!(vouch(folder.path(), provider, &wallet, &env).unwrap(), alone.address());
        let vouched = ReportKey::load_or_generate(folder.path(), &env).unwrap();
        let word = ReceiptKey { provider, key: alone.address() }.digest_anywhere();
        assert_eq!(vouched.delegation.unwrap().recover(&word), Ok(wallet.address()));
        fs::write(folder.path().join(DELEGATION), "nonsense").unwrap();
        assert!(matches!(ReportKey::load_or_generate(folder.path(), &env), Err(Error::Key(_))));
    }
}
