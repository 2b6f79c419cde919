//! The node's own ed25519 key: made here, kept here, never shared.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use protocol::session::{OpenSession, session_challenge_bytes};
use protocol::{Env, NodeId};

use crate::Error;

/// The node's key. Clones share it; it is not printed by Debug.
#[derive(Clone)]
pub struct NodeKey(Arc<SigningKey>);

impl NodeKey {
    /// A new key.
    #[must_use]
    pub fn generate(env: &Env) -> Self {
        Self(Arc::new(SigningKey::from_bytes(&env.bytes())))
    }

    /// The key in `path`, made first if there is none. Readable by its owner only.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Key`] when the file holds something else.
    pub fn load_or_generate(path: &Path, env: &Env) -> Result<Self, Error> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut secret = [0; 32];
                hex::decode_to_slice(text.trim(), &mut secret)
                    .map_err(|_| Error::Key(format!("{} is not 64 hex digits", path.display())))?;
                Ok(Self(Arc::new(SigningKey::from_bytes(&secret))))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate(env);
                write_secret(path, &hex::encode(key.0.to_bytes()))?;
                Ok(key)
            }
            Err(error) => Err(Error::file(path, "reading the node's key")(error)),
        }
    }

    /// What others know the node by: 64 hex digits.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex::encode(self.0.verifying_key().to_bytes())
    }

    /// Proof of this key for a session.
    #[must_use]
    pub fn open_session(&self, node: NodeId, env: &Env) -> OpenSession {
        let nonce = hex::encode(env.bytes::<16>());
        let timestamp_ms = env.now().unix_ms();
        let signature = self.0.sign(&session_challenge_bytes(node, &nonce, timestamp_ms));
        OpenSession { nonce, timestamp_ms, signature: hex::encode(signature.to_bytes()) }
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKey({})", self.public_hex())
    }
}

/// Writes a secret so that no other user can read it, not even for a moment, and a crash leaves
/// either the whole of it or nothing.
///
/// # Errors
/// [`Error::File`].
pub fn write_secret(path: &Path, secret: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::file(folder, "making the state folder"))?;
    }
    let draft = path.with_extension("new");
    let write = || {
        // A draft left by a crash may have other rights: start from none.
        let _ = fs::remove_file(&draft);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{secret}")?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(Error::file(path, "writing a secret"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let first = NodeKey::load_or_generate(&path, &Env::system()).unwrap();
        let second = NodeKey::load_or_generate(&path, &Env::system()).unwrap();
        assert_eq!(first.public_hex(), second.public_hex());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(NodeKey::load_or_generate(&path, &Env::system()), Err(Error::Key(_))));
    }
}
