//! A key that never leaves AWS KMS.

use std::error::Error as StdError;
use std::time::Duration;

use alloy_primitives::{Address, B256, ChainId, Signature};
use alloy_signer::Signer;
use alloy_signer_aws::AwsSigner;
use async_trait::async_trait;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

/// Longest wait for one answer, tries of the SDK's own included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Signs by asking the service. Nothing is asked before the first signature, so that a broker starts and serves while
/// the service is away; the account is told beforehand and must turn out to be the key's.
#[derive(Debug)]
pub(super) struct Kept {
    key: String,
    account: Address,
    endpoint: Option<String>,
    client: OnceCell<Client>,
    signer: OnceCell<AwsSigner>,
}

impl Kept {
    /// `key` is an id, an alias or an ARN; `endpoint` is asked in place of the region's own.
    pub(super) const fn new(key: String, account: Address, endpoint: Option<String>) -> Self {
        Self { key, account, endpoint, client: OnceCell::const_new(), signer: OnceCell::const_new() }
    }

    async fn signer(&self) -> alloy_signer::Result<&AwsSigner> {
        let open = async || {
            let client = self.client.get_or_init(|| connect(&self.key, self.endpoint.as_deref())).await;
            let signer = AwsSigner::new(client.clone(), self.key.clone(), None).await.map_err(|e| self.failed(&e))?;
            if signer.address() == self.account {
                return Ok(signer);
            }
            let (key, account, theirs) = (&self.key, self.account, signer.address());
            Err(other(format!("AWS KMS: {key} is the key of {theirs}, and {account} is what is set for it")))
        };
        self.signer.get_or_try_init(open).await
    }

    /// With every cause: the SDK's own words end at "service error".
    fn failed(&self, error: &(dyn StdError + 'static)) -> alloy_signer::Error {
        let mut said = format!("AWS KMS, key {}: {error}", self.key);
        let mut cause = error.source();
        while let Some(error) = cause {
            said = format!("{said}: {error}");
            cause = error.source();
        }
        other(said)
    }
}

fn other(what: String) -> alloy_signer::Error {
    alloy_signer::Error::other(what)
}

/// Credentials and region come from where every AWS tool finds them; a key's ARN names its region itself.
async fn connect(key: &str, endpoint: Option<&str>) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build());
    if let Some(region) = key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    Client::new(&loader.load().await)
}

#[async_trait]
impl Signer for Kept {
    async fn sign_hash(&self, hash: &B256) -> alloy_signer::Result<Signature> {
        self.signer().await?.sign_hash(hash).await.map_err(|error| self.failed(&error))
    }

    fn address(&self) -> Address {
        self.account
    }

    fn chain_id(&self) -> Option<ChainId> {
        None
    }

    fn set_chain_id(&mut self, _: Option<ChainId>) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
