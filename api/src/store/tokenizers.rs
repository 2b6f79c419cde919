//! What text is counted with, by digest of its content.

use sqlx::PgConnection;

use crate::keys::Digest;

/// The form a tokenizer comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenizerKind {
    /// Vocabulary and chat template in one document, as [`crate::tokenizer`] writes it.
    Artifact,
    /// The name of a published vocabulary that is built in.
    Tiktoken,
}

impl TokenizerKind {
    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Tiktoken => "tiktoken",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Artifact, Self::Tiktoken].into_iter().find(|kind| kind.name() == text)
    }
}

/// A tokenizer as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its form.
    pub kind: TokenizerKind,
    /// The file, or a name.
    pub data: Vec<u8>,
}

impl Artifact {
    /// Names it: over form and content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.kind.name().as_bytes()).update(b"\n").update(&self.data);
        *hasher.finalize().as_bytes()
    }
}

/// Stores an artifact once, whoever brings it.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut PgConnection, artifact: &Artifact) -> Result<Digest, sqlx::Error> {
    let digest = artifact.digest();
    sqlx::query!(
        "insert into tokenizers (digest, kind, data) values ($1, $2, $3) on conflict (digest) do nothing",
        digest.as_slice(),
        artifact.kind.name(),
        artifact.data,
    )
    .execute(conn)
    .await?;
    Ok(digest)
}

/// One artifact.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, digest: &Digest) -> Result<Option<Artifact>, sqlx::Error> {
    let row = sqlx::query!("select kind, data from tokenizers where digest = $1", digest.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        let unknown = || sqlx::Error::Decode(format!("unknown kind of tokenizer {:?}", row.kind).into());
        Ok(Artifact { kind: TokenizerKind::parse(&row.kind).ok_or_else(unknown)?, data: row.data })
    })
    .transpose()
}
