//! What a limit counts, and for whom.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::{Id, KeyId, OrganizationId, ProjectId};

use super::gcra::Quota;

/// Locks the limits are spread over: enough that cores seldom meet, few enough to walk.
const SHARDS: usize = 32;

/// Whom a limit binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One key.
    Key(KeyId),
    /// All keys of a project.
    Project(ProjectId),
    /// All projects of an organization.
    Organization(OrganizationId),
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute, prompt and answer together.
    Tokens,
    /// Requests at the same time.
    Concurrency,
}

/// Which limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketId {
    /// Whose.
    pub scope: Scope,
    /// For one model; `None` for all together.
    pub model: Option<Arc<str>>,
    /// Of what.
    pub kind: Kind,
}

/// A limit that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Which.
    pub id: BucketId,
    /// How much.
    pub quota: Quota,
}

impl Scope {
    /// In words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Project(_) => "project",
            Self::Organization(_) => "organization",
        }
    }

    fn uuid(self) -> uuid::Uuid {
        match self {
            Self::Key(id) => id.uuid(),
            Self::Project(id) => id.uuid(),
            Self::Organization(id) => id.uuid(),
        }
    }
}

impl Kind {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
        }
    }

    /// The unit a limit of this kind is told in.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::Concurrency => "requests at the same time",
        }
    }
}

/// The same text on every replica: it names the limit in Redis.
impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_deref().unwrap_or("*");
        write!(f, "{}:{}:{}:{model}", self.kind.name(), self.scope.name(), self.scope.uuid())
    }
}

/// Something kept for each limit in use, under a few locks that are held for moments.
pub struct Shards<T> {
    hasher: RandomState,
    maps: [Mutex<HashMap<BucketId, T>>; SHARDS],
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), maps: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<T> Shards<T> {
    /// Works on what is kept for `id`, made when there is none.
    pub fn with<R>(&self, id: &BucketId, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let mut map = self.of(id).lock();
        if let Some(kept) = map.get_mut(id) {
            return work(kept);
        }
        work(map.entry(id.clone()).or_insert_with(make))
    }

    /// Works on what is kept for `id`, if anything is.
    pub fn find<R>(&self, id: &BucketId, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.of(id).lock().get_mut(id).map(work)
    }

    /// Walks over everything and drops what `keep` refuses. One lock at a time.
    pub fn retain(&self, mut keep: impl FnMut(&BucketId, &mut T) -> bool) {
        for map in &self.maps {
            map.lock().retain(&mut keep);
        }
    }

    fn of(&self, id: &BucketId) -> &Mutex<HashMap<BucketId, T>> {
        let at = self.hasher.hash_one(id) % SHARDS as u64;
        &self.maps[usize::try_from(at).unwrap_or(0)]
    }
}
