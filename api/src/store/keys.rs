//! API keys, by digest. Whoever changes one announces it in the same transaction.

use protocol::{KeyId, OrganizationId, ProjectId, ProviderId, Timestamp};
use sqlx::PgConnection;

use crate::keys::{Digest, Holder, KeyRecord};

/// Where changes are announced; the payload is the digest in hex.
pub const CHANNEL: &str = "steelyard_keys";

/// A key about to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Whom it speaks for.
    pub holder: Holder,
    /// What its owner calls it.
    pub name: String,
    /// The digest of the secret.
    pub digest: Digest,
    /// What lists show.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// What a cache would hold of it.
    pub record: KeyRecord,
    /// Enough to recognise the secret.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Which keys a list is about, and so whom a caller may see.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Inference keys of one project.
    Project(ProjectId),
    /// All keys of one organization.
    Organization(OrganizationId),
    /// Keys of one provider.
    Provider(ProviderId),
}

/// The columns of a key, as far as its holder needs them.
struct RawHolder {
    kind: String,
    organization: Option<OrganizationId>,
    project: Option<ProjectId>,
    provider: Option<ProviderId>,
}

impl RawHolder {
    /// The table's checks allow exactly these shapes.
    fn parse(self) -> Result<Holder, sqlx::Error> {
        match (self.kind.as_str(), self.organization, self.project, self.provider) {
            ("inference", Some(organization), Some(project), None) => Ok(Holder::Inference { organization, project }),
            ("management", Some(organization), Some(project), None) => Ok(Holder::Management { organization, project }),
            ("admin", Some(organization), None, None) => Ok(Holder::Admin { organization }),
            ("provider", None, None, Some(provider)) => Ok(Holder::Provider { provider }),
            (kind, ..) => Err(sqlx::Error::Decode(format!("a key of kind {kind:?} has the wrong holder").into())),
        }
    }
}

/// The key of that digest, unless it was revoked. Expiry is for the caller to judge, at each use.
///
/// # Errors
/// When the database fails.
pub async fn find_live(conn: &mut PgConnection, digest: &Digest) -> Result<Option<KeyRecord>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select key_id as "id: KeyId", kind, organization_id as "organization: OrganizationId",
                  project_id as "project: ProjectId", provider_id as "provider: ProviderId", name,
                  expires_at as "expires_at: Timestamp"
             from api_keys where digest = $1 and revoked_at is null"#,
        digest.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let holder =
            RawHolder { kind: row.kind, organization: row.organization, project: row.project, provider: row.provider };
        Ok(KeyRecord { id: row.id, holder: holder.parse()?, name: row.name, expires_at: row.expires_at })
    })
    .transpose()
}

/// Stores a key and announces it, so that nobody goes on remembering that it does not exist.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &NewKey) -> Result<(), sqlx::Error> {
    let (organization, project, provider) = match new.holder {
        Holder::Inference { organization, project } | Holder::Management { organization, project } => {
            (Some(organization), Some(project), None)
        }
        Holder::Admin { organization } => (Some(organization), None, None),
        Holder::Provider { provider } => (None, None, Some(provider)),
    };
    sqlx::query!(
        "insert into api_keys
                (key_id, kind, organization_id, project_id, provider_id, name, digest, hint, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        new.id as KeyId,
        new.holder.kind().name(),
        organization as Option<OrganizationId>,
        project as Option<ProjectId>,
        provider as Option<ProviderId>,
        new.name,
        new.digest.as_slice(),
        new.hint,
        new.created_at as Timestamp,
        new.expires_at as Option<Timestamp>,
    )
    .execute(&mut *conn)
    .await?;
    announce(conn, &new.digest).await
}

/// Revokes one key of `owner` and announces it. Returns what it was, or `None` when it is not there;
/// revoking again is harmless.
///
/// # Errors
/// When the database fails.
pub async fn revoke(
    conn: &mut PgConnection,
    id: KeyId,
    owner: Option<Owner>,
    now: Timestamp,
) -> Result<Option<KeyRow>, sqlx::Error> {
    let Some(row) = find(&mut *conn, id, owner).await? else { return Ok(None) };
    let digest = sqlx::query_scalar!(
        "update api_keys set revoked_at = coalesce(revoked_at, $2) where key_id = $1 returning digest",
        id as KeyId,
        now as Timestamp,
    )
    .fetch_one(&mut *conn)
    .await?;
    announce_bytes(conn, &digest).await?;
    Ok(Some(KeyRow { revoked_at: row.revoked_at.or(Some(now)), ..row }))
}

/// Revokes every key of a provider but `keep`.
///
/// # Errors
/// When the database fails.
pub async fn revoke_provider(
    conn: &mut PgConnection,
    provider: ProviderId,
    keep: Option<KeyId>,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let digests = sqlx::query_scalar!(
        "update api_keys set revoked_at = $3
          where provider_id = $1 and key_id is distinct from $2 and revoked_at is null returning digest",
        provider as ProviderId,
        keep as Option<KeyId>,
        now as Timestamp,
    )
    .fetch_all(&mut *conn)
    .await?;
    for digest in &digests {
        announce_bytes(&mut *conn, digest).await?;
    }
    Ok(digests.len() as u64)
}

/// One key of `owner`, revoked or not.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: KeyId, owner: Option<Owner>) -> Result<Option<KeyRow>, sqlx::Error> {
    Ok(list(conn, owner, Some(id), None, 1).await?.pop())
}

/// Keys of `owner`, newest first, those older than `after` when it is given; of everybody without an owner.
///
/// # Errors
/// When the database fails.
pub async fn list_of(
    conn: &mut PgConnection,
    owner: Option<Owner>,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    list(conn, owner, None, after, limit).await
}

async fn list(
    conn: &mut PgConnection,
    owner: Option<Owner>,
    id: Option<KeyId>,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    let (project, organization, provider) = match owner {
        None => (None, None, None),
        Some(Owner::Project(project)) => (Some(project), None, None),
        Some(Owner::Organization(organization)) => (None, Some(organization), None),
        Some(Owner::Provider(provider)) => (None, None, Some(provider)),
    };
    let rows = sqlx::query!(
        r#"select key_id as "id: KeyId", kind, organization_id as "organization: OrganizationId",
                  project_id as "project: ProjectId", provider_id as "provider: ProviderId", name, hint,
                  created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp",
                  revoked_at as "revoked_at: Timestamp"
             from api_keys
            where ($1::uuid is null or (project_id = $1 and kind = 'inference'))
              and ($2::uuid is null or organization_id = $2)
              and ($3::uuid is null or provider_id = $3)
              and ($4::uuid is null or key_id = $4)
              and ($5::uuid is null or key_id < $5)
            order by key_id desc limit $6"#,
        project as Option<ProjectId>,
        organization as Option<OrganizationId>,
        provider as Option<ProviderId>,
        id as Option<KeyId>,
        after as Option<KeyId>,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let holder = RawHolder {
                kind: row.kind,
                organization: row.organization,
                project: row.project,
                provider: row.provider,
            };
            let holder = holder.parse()?;
            let record = KeyRecord { id: row.id, holder, name: row.name, expires_at: row.expires_at };
            Ok(KeyRow { record, hint: row.hint, created_at: row.created_at, revoked_at: row.revoked_at })
        })
        .collect()
}

async fn announce(conn: &mut PgConnection, digest: &Digest) -> Result<(), sqlx::Error> {
    announce_bytes(conn, digest).await
}

/// Sent when the transaction commits, and only then.
async fn announce_bytes(conn: &mut PgConnection, digest: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, hex::encode(digest)).execute(conn).await?;
    Ok(())
}
