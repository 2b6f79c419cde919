//! Where documents that must outlive everything are kept: by their SHA-256, written once, never changed.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use ring::digest::{SHA256, digest as hash};

use crate::Error;

/// A place for documents.
pub trait Artefacts: Send + Sync {
    /// Keeps a document under its digest. Keeping it again changes nothing.
    fn put(&self, digest: [u8; 32], bytes: Vec<u8>) -> BoxFuture<'_, Result<(), Error>>;

    /// The document of a digest; `None` when it is not there, or not what it was.
    fn get(&self, digest: [u8; 32]) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>>;
}

/// A folder on this machine, or on a disk several share.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// What a document is kept under.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash(&SHA256, bytes).as_ref());
    digest
}

impl Folder {
    /// In `path`, which is made when something is first kept.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Spread over 256 folders: no file system likes millions of names in one.
    fn path(&self, digest: [u8; 32]) -> PathBuf {
        let name = hex::encode(digest);
        self.0.join(&name[..2]).join(name)
    }
}

impl Artefacts for Folder {
    fn put(&self, digest: [u8; 32], bytes: Vec<u8>) -> BoxFuture<'_, Result<(), Error>> {
        let path = self.path(digest);
        let work = move || {
            if path.exists() {
                return Ok(());
            }
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)?;
            // Written aside and moved: a name never stands for half a document.
            let draft = path.with_extension(format!("{}.new", std::process::id()));
            std::fs::write(&draft, bytes)?;
            std::fs::File::open(&draft)?.sync_all()?;
            std::fs::rename(&draft, &path)
        };
        Box::pin(blocking(work))
    }

    fn get(&self, wanted: [u8; 32]) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        let path = self.path(wanted);
        let work = move || match std::fs::read(&path) {
            Ok(bytes) => Ok((digest(&bytes) == wanted).then_some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Box::pin(blocking(work))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(Error::Artefacts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_is_found_by_its_digest_and_a_damaged_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("artefacts"));
        let name = digest(b"words");
        assert_eq!(folder.get(name).await.unwrap(), None);
        folder.put(name, b"words".to_vec()).await.unwrap();
        folder.put(name, b"words".to_vec()).await.unwrap();
        assert_eq!(folder.get(name).await.unwrap().unwrap(), b"words");
        std::fs::write(folder.path(name), b"wards").unwrap();
        assert_eq!(folder.get(name).await.unwrap(), None);
    }
}
