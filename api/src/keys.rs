//! API keys: what one may do, and the cache that answers without asking the database.
//!
//! Only the BLAKE3 digest of a key is stored. A key in steady use is found in memory; the database
//! is asked once, whoever waits, and pushes a notice when a key is revoked or changed.
//!
//! A revoked key stops within a second, also when notices can't come through: an answer from the
//! cache counts only while the notice channel was heard within `UNHEARD_LIMIT`, or while the
//! answer itself is no older than that, by the wall clock and by the monotonic one. When the channel is
//! re-opened the cache starts empty, since whatever was announced meanwhile is lost. With the database out
//! of reach for longer, new requests are told to come back rather than let in on an old answer.

mod listen;
mod moment;
mod secret;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use protocol::{Env, KeyId, OrganizationId, ProjectId, ProviderId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::moment::{LastMoment, Moment};
use crate::error::ApiError;
use crate::store;

pub use secret::{Digest, Secret};

/// For how long an answer counts that no notice could have corrected. Below the second in which a
/// revoked key must stop, with room for the request that is being let in.
const UNHEARD_LIMIT: Duration = Duration::from_millis(800);
/// For how long "no such key" is remembered. Short: it only has to blunt a client that hammers.
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
/// Most unknown keys remembered at a time; past it all are forgotten. They are made by strangers.
const MAX_UNKNOWN: usize = 10_000;
/// Most known keys remembered at a time, at about 300 bytes each; past it all are read again.
const MAX_KNOWN: usize = 200_000;
/// Most lookups in the database at a time, so that a flood of made-up keys can't take the pool.
const FILLS: usize = 16;
/// Longest wait before a client is told to come back: for its turn and for the database together, so that
/// many callers of one key do not wait one after another.
const FILL_TIMEOUT: Duration = Duration::from_secs(2);
/// A database that says nothing for this long is away. Less than a whole wait, since a turn takes of it too.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// For how long nobody asks a database that was found to be away: those who wait for their turn can go at
/// once, and the next to come find out again.
const AWAY_FOR: Duration = Duration::from_millis(500);

/// What a key is for. The kinds are never interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Asks models.
    Inference,
    /// Manages inference keys and credit.
    Management,
    /// Manages the organization.
    Admin,
    /// Speaks for a provider.
    Provider,
}

impl KeyKind {
    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Management => "management",
            Self::Admin => "admin",
            Self::Provider => "provider",
        }
    }
}

/// Whom a key speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Spends a project's money.
    Inference {
        /// Who pays.
        organization: OrganizationId,
        /// What for.
        project: ProjectId,
    },
    /// Manages a project's keys.
    Management {
        /// Who pays.
        organization: OrganizationId,
        /// Where new keys go.
        project: ProjectId,
    },
    /// Manages an organization.
    Admin {
        /// Which one.
        organization: OrganizationId,
    },
    /// Speaks for a provider.
    Provider {
        /// Which one.
        provider: ProviderId,
    },
}

impl Holder {
    /// The kind of key this makes.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Inference { .. } => KeyKind::Inference,
            Self::Management { .. } => KeyKind::Management,
            Self::Admin { .. } => KeyKind::Admin,
            Self::Provider { .. } => KeyKind::Provider,
        }
    }
}

/// How a project's list of models is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// Only those on it.
    AllowList,
    /// All but those on it.
    DenyList,
}

impl PermissionMode {
    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowList => "allow_list",
            Self::DenyList => "deny_list",
        }
    }
}

/// Which models a project's keys may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPermissions {
    /// How the list is to be read.
    pub mode: PermissionMode,
    /// Model ids without a routing suffix, sorted, each once.
    pub models: Vec<String>,
}

/// A key that counts, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Whom it speaks for.
    pub holder: Holder,
    /// What its owner calls it.
    pub name: String,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
    /// Which models its project may ask for; `None` for all of them.
    pub models: Option<ModelPermissions>,
}

impl KeyRecord {
    /// Whether the key's project may ask for `model`, an id without a routing suffix.
    #[must_use]
    pub fn permits(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|permissions| {
            let listed = permissions.models.binary_search_by(|id| id.as_str().cmp(model)).is_ok();
            listed == (permissions.mode == PermissionMode::AllowList)
        })
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.holder.kind()
    }
}

/// The keys in use. Clones share one cache.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    db: PgPool,
    env: Env,
    known: papaya::HashMap<Digest, Known>,
    unknown: papaya::HashMap<Digest, Moment>,
    /// Counts notices. A fill that began before a notice must not outlive it.
    notices: AtomicU64,
    /// When the notice channel was last known to work; never, when it is lost.
    heard_at: LastMoment,
    /// When the database was last found to be away.
    away_at: LastMoment,
    fills: [Mutex<()>; FILLS],
}

#[derive(Clone)]
struct Known {
    record: Arc<KeyRecord>,
    read_at: Moment,
}

/// What memory says about a key.
enum Cached {
    Known(Arc<KeyRecord>),
    Unknown,
    Ask,
}

impl Keys {
    /// An empty cache in front of `db`. Works without [`Keys::listen`], asking the database more often.
    #[must_use]
    pub fn new(db: PgPool, env: Env) -> Self {
        Self(Arc::new(Inner {
            db,
            env,
            known: papaya::HashMap::new(),
            unknown: papaya::HashMap::new(),
            notices: AtomicU64::new(0),
            heard_at: LastMoment::never(),
            away_at: LastMoment::never(),
            fills: [const { Mutex::const_new(()) }; FILLS],
        }))
    }

    /// Whose key `secret` is. Does not wait in steady state.
    ///
    /// # Errors
    /// 401 for a key that is malformed, unknown, revoked, disabled or expired; 503 when the database has to be
    /// asked and can't be.
    pub async fn find(&self, secret: &str) -> Result<Arc<KeyRecord>, ApiError> {
        let now = self.0.now();
        let digest = Secret::digest_of(secret).ok_or_else(|| ApiError::unauthorized(true))?;
        let record = match self.0.cached(&digest, now) {
            Cached::Known(record) => record,
            Cached::Unknown => return Err(ApiError::unauthorized(true)),
            Cached::Ask => self.0.fill(digest).await?,
        };
        match record.expires_at {
            Some(expires_at) if expires_at <= now.wall() => Err(ApiError::unauthorized(true)),
            _ => Ok(record),
        }
    }
}

impl Inner {
    fn now(&self) -> Moment {
        Moment::at(self.env.now())
    }

    fn cached(&self, digest: &Digest, now: Moment) -> Cached {
        if let Some(known) = self.known.pin().get(digest)
            && self.counts(known.read_at, now)
        {
            return Cached::Known(Arc::clone(&known.record));
        }
        match self.unknown.pin().get(digest) {
            Some(at) if now.since(*at) < UNKNOWN_FOR => Cached::Unknown,
            _ => Cached::Ask,
        }
    }

    fn counts(&self, read_at: Moment, now: Moment) -> bool {
        now.since(read_at) <= UNHEARD_LIMIT || self.heard_at.is_within(UNHEARD_LIMIT, now)
    }

    async fn fill(&self, digest: Digest) -> Result<Arc<KeyRecord>, ApiError> {
        let come_back = || ApiError::overloaded(1_000);
        let deadline = Instant::now() + FILL_TIMEOUT;
        let turn = self.fills[usize::from(digest[0]) % FILLS].lock();
        let _turn = tokio::time::timeout_at(deadline, turn).await.map_err(|_| come_back())?;
        let now = self.now();
        match self.cached(&digest, now) {
            Cached::Known(record) => return Ok(record),
            Cached::Unknown => return Err(ApiError::unauthorized(true)),
            Cached::Ask if self.away_at.is_within(AWAY_FOR, now) => return Err(come_back()),
            Cached::Ask => {}
        }
        let (notices, asked) = (self.notices.load(Ordering::SeqCst), Instant::now());
        let row = match tokio::time::timeout_at(deadline, self.read(&digest)).await {
            Ok(Ok(row)) => row,
            Ok(Err(error)) => {
                let error = ApiError::from(error);
                if error.status() == StatusCode::SERVICE_UNAVAILABLE {
                    self.away_at.set(self.now());
                }
                return Err(error);
            }
            Err(_) => {
                if asked.elapsed() >= SILENT_AFTER {
                    self.away_at.set(self.now());
                }
                return Err(come_back());
            }
        };
        let Some(record) = row.map(Arc::new) else {
            self.remember_unknown(digest, now);
            self.forget_if_noticed(&digest, notices);
            return Err(ApiError::unauthorized(true));
        };
        self.remember(digest, Known { record: Arc::clone(&record), read_at: now });
        self.forget_if_noticed(&digest, notices);
        Ok(record)
    }

    async fn read(&self, digest: &Digest) -> Result<Option<KeyRecord>, sqlx::Error> {
        let mut conn = self.db.acquire().await?;
        store::keys::find_live(&mut conn, digest).await
    }

    fn remember(&self, digest: Digest, known: Known) {
        let map = self.known.pin();
        if map.len() >= MAX_KNOWN {
            map.clear();
        }
        map.insert(digest, known);
    }

    fn remember_unknown(&self, digest: Digest, now: Moment) {
        let map = self.unknown.pin();
        if map.len() >= MAX_UNKNOWN {
            map.clear();
        }
        map.insert(digest, now);
    }

    /// Notices count up before they remove: a fill that was overtaken by one sees the count and removes too.
    fn forget_if_noticed(&self, digest: &Digest, notices: u64) {
        if self.notices.load(Ordering::SeqCst) != notices {
            self.known.pin().remove(digest);
            self.unknown.pin().remove(digest);
        }
    }

    fn forget(&self, digest: &Digest) {
        self.notices.fetch_add(1, Ordering::SeqCst);
        self.known.pin().remove(digest);
        self.unknown.pin().remove(digest);
    }

    fn forget_all(&self) {
        self.notices.fetch_add(1, Ordering::SeqCst);
        self.known.pin().clear();
        self.unknown.pin().clear();
    }

    fn heard(&self) {
        self.heard_at.set(self.now());
    }

    fn lost(&self) {
        self.heard_at.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Id as _;

    #[test]
    fn a_list_of_models_lets_in_or_keeps_out_and_no_list_does_neither() {
        let (organization, project) =
            (OrganizationId::from_uuid(uuid::Uuid::nil()), ProjectId::from_uuid(uuid::Uuid::nil()));
        let key = |permissions: Option<(PermissionMode, &[&str])>| KeyRecord {
            id: KeyId::from_uuid(uuid::Uuid::nil()),
            holder: Holder::Inference { organization, project },
            name: "key".to_owned(),
            expires_at: None,
            models: permissions.map(|(mode, models)| ModelPermissions {
                mode,
                models: models.iter().map(|&model| model.to_owned()).collect(),
            }),
        };
        assert!(key(None).permits("a/b"));
        let allowed = key(Some((PermissionMode::AllowList, &["a/b", "c/d"])));
        assert!(allowed.permits("c/d") && !allowed.permits("c/e"));
        let denied = key(Some((PermissionMode::DenyList, &["a/b", "c/d"])));
        assert!(!denied.permits("a/b") && denied.permits("c/e"));
        assert!(!key(Some((PermissionMode::AllowList, &[]))).permits("a/b"));
    }
}
