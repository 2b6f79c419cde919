//! Becoming a provider, and what a wallet signs for that.

use std::path::{Path, PathBuf};

use node::Error;
use node::register::{Applicant, Registered, register};
use protocol::Env;
use protocol::challenge::Purpose;
use protocol::wallet::Wallet;

use crate::broker::{Broker, PROVIDER_KEY};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn apply(broker: &Broker, name: &str) -> (Result<Registered, Error>, Folder) {
    let folder = Folder(std::env::temp_dir().join(format!("steelyard-register-{}-{name}", std::process::id())));
    (apply_in(broker, &folder.0).await, folder)
}

async fn apply_in(broker: &Broker, folder: &Path) -> Result<Registered, Error> {
    let applicant = Applicant {
        name: "Acme".into(),
        slug: "acme".into(),
        contact_email: "ops@acme.example".into(),
        country: "DE".into(),
        terms_version: "1".into(),
        payout_account: None,
    };
    let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
    register(&broker.url, applicant, &wallet, folder, &Env::system()).await
}

#[tokio::test]
async fn a_wallet_signs_for_the_broker_that_was_dialled() {
    let broker = Broker::start().await;
    let (registered, folder) = apply(&broker, "own").await;
    let registered = registered.unwrap();
    assert_eq!(std::fs::read_to_string(registered.key_file).unwrap().trim(), PROVIDER_KEY);
    assert_eq!(broker.seen.lock().proofs.len(), 1);
    assert!(folder.0.join("receipt.delegation").exists(), "the wallet vouched while it was at hand");
}

#[tokio::test]
async fn a_challenge_of_another_broker_or_for_another_purpose_is_not_signed() {
    let broker = Broker::start().await;
    type Twist = fn(&mut protocol::challenge::Challenge);
    let twists: [(Twist, &str); 4] = [
        (|challenge| challenge.origin = "https://victim.example".into(), "broker is https://victim.example"),
        (|challenge| challenge.purpose = Purpose::KeyRotation, "purpose is key_rotation"),
        (|challenge| challenge.slug = "victim".into(), "slug is victim"),
        (|challenge| challenge.nonce = "x\nURI: https://victim.example".into(), "no Steelyard challenge"),
    ];
    for (twist, words) in twists {
        broker.seen.lock().twist = Some(twist);
        let (refused, folder) = apply(&broker, "other").await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("nothing was signed") && error.contains(words), "{error}");
        assert!(!folder.0.join("provider.key").exists());
    }
    assert!(broker.seen.lock().proofs.is_empty(), "no signature left this machine");
}

#[tokio::test]
async fn no_key_is_asked_for_that_could_not_be_kept() {
    let broker = Broker::start().await;
    let folder = Folder(std::env::temp_dir().join(format!("steelyard-register-{}-kept", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let key = folder.0.join("provider.key");
    std::fs::write(&key, "another").unwrap();
    let error = apply_in(&broker, &folder.0).await.unwrap_err().to_string();
    assert!(error.contains("--state-dir"), "{error}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "another", "the only copy of a key is not written over");
    // A folder below a file can't be made.
    assert!(matches!(apply_in(&broker, &key.join("state")).await, Err(Error::File { .. })));
    assert!(broker.seen.lock().proofs.is_empty(), "the broker gave no key");
}
