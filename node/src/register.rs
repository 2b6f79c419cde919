//! Becoming a provider: a wallet signs a text of the broker's, and the broker gives a key.

use std::fs;
use std::path::{Path, PathBuf};

use http::Method;
use protocol::challenge::{Challenge, Expected, Purpose};
use protocol::session::{CreateProvider, CreatedProvider, VerifiedProvider, VerifyChallenge};
use protocol::wallet::Wallet;
use protocol::{Env, ProviderId};
use url::Url;

use crate::Error;
use crate::client::Client;
use crate::keys::write_secret;
use crate::vouch::vouch;

/// Who registers.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Shown to users.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// Where notices go.
    pub contact_email: String,
    /// ISO 3166 alpha-2.
    pub country: String,
    /// Which terms are accepted.
    pub terms_version: String,
    /// CAIP-10 account payouts go to; the wallet itself on Base when absent.
    pub payout_account: Option<String>,
}

/// What registering gave.
#[derive(Debug)]
pub struct Registered {
    /// The provider's id.
    pub provider: ProviderId,
    /// Where its key is now, readable by its owner only.
    pub key_file: PathBuf,
    /// A configuration to start from.
    pub config: String,
}

/// Reads a wallet's key, or makes one where there is none and `generate` allows it.
///
/// # Errors
/// [`Error::File`] or [`Error::Key`].
pub fn wallet(path: &Path, generate: bool, env: &Env) -> Result<Wallet, Error> {
    let damaged = |error: protocol::wallet::WalletError| Error::Key(format!("{}: {error}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => Wallet::from_hex(&text).map_err(damaged),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && generate => {
            let secret = env.bytes::<32>();
            let wallet = Wallet::from_bytes(&secret).map_err(damaged)?;
            write_secret(path, &hex::encode(secret))?;
            Ok(wallet)
        }
        Err(error) => Err(Error::file(path, "reading the wallet's key")(error)),
    }
}

/// Registers, proves the wallet, and keeps the provider key in `state_dir`, with a receipt key the wallet vouches for.
///
/// # Errors
/// [`Error`]; a slug that is taken comes back in the broker's own words. [`Error::Config`] when the folder holds a
/// provider's key: it is not written over. [`Error::Challenge`] when the broker
/// wants another text signed than this registration at this very broker: nothing is signed then.
pub async fn register(
    broker: &Url,
    applicant: Applicant,
    wallet: &Wallet,
    state_dir: &Path,
    env: &Env,
) -> Result<Registered, Error> {
    let client = Client::new(broker)?;
    let key_file = state_dir.join("provider.key");
    if key_file.exists() {
        let file = key_file.display();
        return Err(Error::Config(format!(
            "{file} holds a provider's key already; name another folder with --state-dir"
        )));
    }
    let address = wallet.address();
    let body = CreateProvider {
        name: applicant.name,
        slug: applicant.slug,
        contact_email: applicant.contact_email,
        country: applicant.country,
        website: None,
        privacy_policy_url: None,
        terms_version: applicant.terms_version,
        payout_account: applicant.payout_account.unwrap_or_else(|| format!("eip155:8453:{address}")),
        receipt_address: address,
    };
    let call = client.call(Method::POST, "/v1/providers").json(&body)?;
    let (_, created) = call.send::<CreatedProvider>().await?;
    let provider = created.provider.id;
    let expected = Expected {
        origin: &broker.origin().ascii_serialization(),
        wallet: address,
        purpose: Purpose::Register,
        provider,
        slug: &body.slug,
        payout_account: &body.payout_account,
        terms_version: &body.terms_version,
    };
    let signature = sign(wallet, &created.challenge.message, &expected)?;
    // A folder that can't be written to is found out here, and not when the one copy of the key has nowhere to go.
    let probe = state_dir.join("probe");
    write_secret(&probe, "")?;
    fs::remove_file(&probe).map_err(Error::file(&probe, "trying the state folder"))?;
    let proof = VerifyChallenge { challenge_id: created.challenge.id, signature };
    let call = client.call(Method::POST, format!("/v1/providers/{provider}/verify")).json(&proof)?;
    let (_, verified) = call.send::<VerifiedProvider>().await?;
    write_secret(&key_file, &verified.key)?;
    // The wallet is at hand now, and later it may be in a safe.
    vouch(state_dir, provider, wallet, env)?;
    Ok(Registered { provider, key_file, config: template(broker, provider, state_dir) })
}

/// Signs a challenge, if it is what was asked for and nothing else. A broker that passed on another one's text
/// would otherwise get a signature that counts there.
fn sign(wallet: &Wallet, message: &str, expected: &Expected<'_>) -> Result<String, Error> {
    Challenge::parse(message).and_then(|challenge| challenge.check(expected)).map_err(Error::Challenge)?;
    Ok(wallet.sign(message))
}

/// A configuration that needs only its engine and its prices looked at.
fn template(broker: &Url, provider: ProviderId, state_dir: &Path) -> String {
    format!(
        r#"broker = "{broker}"
provider = "{provider}"
state_dir = "{state}"          # holds provider.key and the node's own key; mode 0600

[engine]
kind = "attach"                # or "supervise" with command and args, or "simulated"
url = "http://127.0.0.1:8080"

[[offer]]
model = "org/name"             # the public name users ask for
prompt_usd_per_million = "0.05"
completion_usd_per_million = "0.10"

[location]
country_code = "DE"
"#,
        state = state_dir.display(),
    )
}
