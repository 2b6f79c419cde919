//! The proposer's key, as the configuration names it.

use onchain::Key;

use crate::Error;
use crate::rail::ChainConfig;

/// Opens it: a file, or what AWS KMS keeps.
pub(super) async fn open(config: &ChainConfig) -> Result<Key, Error> {
    match (&config.keystore, &config.kms_key) {
        (Some(file), None) => {
            let password = config.keystore_password_file.clone();
            let password = password.ok_or_else(|| unfit("keystore_password_file is not set"))?;
            Ok(Key::open(file.clone(), password).await?)
        }
        (None, Some(key)) => {
            let account = config.kms_account.ok_or_else(|| unfit("kms_account is not set: whose key is kms_key?"))?;
            Ok(Key::in_aws_kms(key.clone(), account, config.kms_endpoint.clone()))
        }
        (None, None) => Err(unfit("keystore is not set, and neither is kms_key: one of them signs")),
        (Some(_), Some(_)) => Err(unfit("keystore and kms_key are both set: only one signs")),
    }
}

fn unfit(what: &str) -> Error {
    onchain::Error::Unfit { reason: format!("payouts.chain.{what}") }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn exactly_one_key_is_named_and_whole() {
        let kms = ChainConfig {
            kms_key: Some("alias/payouts".into()),
            kms_account: Some("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap()),
            ..ChainConfig::default()
        };
        assert_eq!(Some(open(&kms).await.unwrap().account()), kms.kms_account);
        let said = async |config: ChainConfig| open(&config).await.unwrap_err().to_string();
        assert!(said(ChainConfig { kms_account: None, ..kms.clone() }).await.contains("kms_account is not set"));
        assert!(said(ChainConfig { keystore: Some("a".into()), ..kms }).await.contains("both set"));
        assert!(said(ChainConfig::default()).await.contains("kms_key"));
        let half = ChainConfig { keystore: Some("a".into()), ..ChainConfig::default() };
        assert!(said(half).await.contains("keystore_password_file is not set"));
    }
}
