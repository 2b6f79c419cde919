//! What `earnings` and `claim` ask the broker alike.

use http::{Method, StatusCode};
use protocol::ProviderId;
use protocol::purse::Balance;
use secrecy::SecretString;

use crate::Error;
use crate::client::Client;

/// What the provider has.
pub(crate) async fn balance(client: &Client, provider: ProviderId, key: &SecretString) -> Result<Balance, Error> {
    let path = format!("/v1/providers/{provider}/balance");
    let (_, balance) = client.call(Method::GET, path).provider(key).send().await.map_err(advise)?;
    Ok(balance)
}

/// A refusal of the key, with what to do about it.
pub(crate) fn advise(error: Error) -> Error {
    match error {
        Error::Refused { status: StatusCode::UNAUTHORIZED, message, .. } => Error::Key(format!(
            "the broker does not take the provider key ({message}): it is wrong or was revoked. Put the right one \
             in provider.key or set STEELYARD_PROVIDER_KEY; with the wallet a new one is had by a challenge for \
             key_rotation"
        )),
        other => other,
    }
}
