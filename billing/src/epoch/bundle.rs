//! The documents of an epoch: made once, kept by their digests, put together again for whoever checks.

use std::collections::{BTreeMap, BTreeSet};

use protocol::bundle::{self, Bundle, FILES, LEAVES, MANIFEST, MANIFEST_SIGNATURE, Parts, Witness};
use protocol::issued::Issued;
use protocol::merkle::{Tree, twice};
use protocol::statement::{Document as _, Manifest, Sealed, Statement};
use protocol::typed::Typed as _;
use protocol::wallet::Address;
use protocol::{NanoUsd, ProviderId};
use sqlx::PgConnection;

use super::Epochs;
use crate::Error;
use crate::artefact::digest;
use crate::statement::{Built, Receipts};
use crate::store::{epochs, receipt_keys};

/// Documents that are everybody's.
const PUBLIC: [&str; 3] = [MANIFEST, MANIFEST_SIGNATURE, LEAVES];

/// Receipts in short. `None` when their sum leaves its range, or one is signed by nobody.
pub(super) fn summary(issued: &[Issued]) -> Option<Receipts> {
    let mut signers = BTreeSet::new();
    let mut leaves = Vec::with_capacity(issued.len());
    let mut released = NanoUsd::ZERO;
    for one in issued {
        let digest = one.receipt.digest(&one.receipt.domain);
        signers.insert(one.signature.recover(&digest).ok()?);
        leaves.push(twice(&digest));
        released = released.checked_add(one.receipt.net)?;
    }
    let signers: Vec<Address> = signers.into_iter().collect();
    Some(Receipts { root: Tree::of(leaves).root(), count: issued.len() as u64, signers, released })
}

impl Epochs {
    /// Keeps what an epoch came to: the public part once, and each provider's own.
    pub(super) async fn keep(
        &self,
        conn: &mut PgConnection,
        built: &Built,
        manifest: &Sealed<Manifest>,
        statements: &[Sealed<Statement>],
    ) -> Result<(), Error> {
        let epoch = manifest.document.epoch;
        let public = [
            (MANIFEST, manifest.document.canonical_bytes()),
            (MANIFEST_SIGNATURE, bundle::bytes(&manifest.signature)),
            (LEAVES, bundle::bytes(&built.leaves)),
        ];
        for (name, bytes) in public {
            self.keep_one(conn, epoch, None, name, bytes).await?;
        }
        for sealed in statements {
            let provider = sealed.document.provider;
            let issued = epochs::list_items(conn, epoch, provider).await?;
            let known = receipt_keys::list_of_provider(conn, provider).await?;
            let previous = epochs::find_last(conn, epoch, provider).await?;
            let proof = built.tree.proof(&twice(&sealed.document.hash().0)).unwrap_or_default();
            let (manifest, leaves, statement) = (manifest.clone(), built.leaves.clone(), sealed.clone());
            // Each report's signature is looked at: not on a thread that serves.
            let making = tokio::task::spawn_blocking(move || {
                let bundle = Bundle::of(&Parts {
                    manifest: &manifest,
                    leaves: &leaves,
                    statement: &statement,
                    proof: &proof,
                    previous: previous.as_ref(),
                    receipts: &issued,
                    keys: &witnesses(&issued, known),
                });
                // Nothing leaves the house that its reader would find a flaw in.
                bundle.verify().map(|_| bundle)
            });
            let made = making.await.map_err(|_| Error::EpochSum { epoch })?;
            let made = made.map_err(|flaw| Error::Bundle { provider, flaw })?;
            for (name, bytes) in made.0.into_iter().filter(|(name, _)| !PUBLIC.contains(name)) {
                self.keep_one(conn, epoch, Some(provider), name, bytes).await?;
            }
        }
        Ok(())
    }

    async fn keep_one(
        &self,
        conn: &mut PgConnection,
        epoch: u64,
        provider: Option<ProviderId>,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), Error> {
        let digest = digest(&bytes);
        epochs::insert_artefact(conn, epoch, provider, name, &digest, bytes.len()).await?;
        self.artefacts.put(digest, bytes).await
    }

    /// Everything a provider needs to check its payout; `None` where the epoch has nothing of it.
    ///
    /// # Errors
    /// [`Error::Artefacts`] when a document can't be read; [`Error::Database`].
    pub async fn bundle(&self, epoch: u64, provider: ProviderId) -> Result<Option<Bundle>, Error> {
        let files = self.files(epoch, Some(provider)).await?;
        Ok(files.0.contains_key(bundle::STATEMENT).then_some(files))
    }

    /// What of an epoch is everybody's: manifest, signature and leaves. Empty before it is built.
    ///
    /// # Errors
    /// As [`Epochs::bundle`].
    pub async fn public(&self, epoch: u64) -> Result<Bundle, Error> {
        self.files(epoch, None).await
    }

    async fn files(&self, epoch: u64, provider: Option<ProviderId>) -> Result<Bundle, Error> {
        let mut conn = self.receipts.db().acquire().await?;
        let named = epochs::list_artefacts(&mut conn, epoch, provider).await?;
        drop(conn);
        let mut files = BTreeMap::new();
        for (name, digest) in named {
            let Some(name) = FILES.into_iter().find(|known| *known == name) else { continue };
            if let Some(bytes) = self.artefacts.get(digest).await? {
                files.insert(name, bytes);
            }
        }
        Ok(Bundle(files))
    }
}

/// The keys that signed these reports, by address, each with a wallet's word where there is one.
fn witnesses(issued: &[Issued], known: Vec<Witness>) -> Vec<Witness> {
    let signer = |one: &Issued| one.report.as_ref()?.signer(&one.receipt.domain).ok();
    let signers: BTreeSet<Address> = issued.iter().filter_map(signer).collect();
    let delegation = |key: &Address| known.iter().find(|witness| witness.key == *key)?.delegation;
    signers.into_iter().map(|key| Witness { delegation: delegation(&key), key }).collect()
}
