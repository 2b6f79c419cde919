//! API keys, by digest. Whoever changes one, or what it may do, announces it in the same transaction.

mod list;

use protocol::{KeyId, OrganizationId, ProjectId, ProviderId, ServiceAccountId, Timestamp};
use sqlx::PgConnection;

use super::model_permissions;
use super::service_accounts::ServiceAccount;
use crate::keys::{Digest, Holder, KeyRecord};

pub use list::{KeyRow, Owner, find, find_kept, list_kept, list_of};

/// Where changes are announced; the payload is the digest in hex.
pub const CHANNEL: &str = "steelyard_keys";

/// A key about to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Whom it speaks for.
    pub holder: Holder,
    /// The service account that holds it, if one does.
    pub service_account: Option<ServiceAccountId>,
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

/// The key of that digest, as long as it counts: not revoked, not disabled, its project not archived. Expiry is
/// for the caller to judge, at each use.
///
/// # Errors
/// When the database fails.
pub async fn find_live(conn: &mut PgConnection, digest: &Digest) -> Result<Option<KeyRecord>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select k.key_id as "id: KeyId", k.kind, k.organization_id as "organization: OrganizationId",
                  k.project_id as "project: ProjectId", k.provider_id as "provider: ProviderId", k.name,
                  k.expires_at as "expires_at: Timestamp", m.mode as "mode?", m.models as "models?"
             from api_keys k
             left join projects p on p.project_id = k.project_id
             left join model_permissions m on m.project_id = k.project_id
            where k.digest = $1 and k.revoked_at is null and k.disabled_at is null and p.archived_at is null"#,
        digest.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let holder =
            RawHolder { kind: row.kind, organization: row.organization, project: row.project, provider: row.provider };
        let models = row.mode.zip(row.models).map(|(mode, models)| model_permissions::parse(&mode, models));
        Ok(KeyRecord {
            id: row.id,
            holder: holder.parse()?,
            name: row.name,
            expires_at: row.expires_at,
            models: models.transpose()?,
        })
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
                (key_id, kind, organization_id, project_id, provider_id, service_account_id, name, digest, hint,
                 created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id as KeyId,
        new.holder.kind().name(),
        organization as Option<OrganizationId>,
        project as Option<ProjectId>,
        provider as Option<ProviderId>,
        new.service_account as Option<ServiceAccountId>,
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

/// Revokes every key a service account holds.
///
/// # Errors
/// When the database fails.
pub async fn revoke_service_account(
    conn: &mut PgConnection,
    account: &ServiceAccount,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let digests = sqlx::query_scalar!(
        "update api_keys set revoked_at = $3
          where organization_id = $1 and service_account_id = $2 and revoked_at is null returning digest",
        account.organization as OrganizationId,
        account.id as ServiceAccountId,
        now as Timestamp,
    )
    .fetch_all(&mut *conn)
    .await?;
    for digest in &digests {
        announce_bytes(&mut *conn, digest).await?;
    }
    Ok(())
}

/// Renames a key, and lets it rest or count again; what is `None` stays. Announces it. The key is one its caller
/// has found; its row stays locked until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn update(
    conn: &mut PgConnection,
    id: KeyId,
    name: Option<&str>,
    disabled: Option<bool>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let digest = sqlx::query_scalar!(
        "update api_keys
            set name = coalesce($2, name),
                disabled_at = case when $3 then coalesce(disabled_at, $4) when $3 is null then disabled_at end
          where key_id = $1 returning digest",
        id as KeyId,
        name,
        disabled,
        now as Timestamp,
    )
    .fetch_one(&mut *conn)
    .await?;
    announce_bytes(conn, &digest).await
}

/// Announces every key of a project, whose rights have changed: each cache reads them again.
///
/// # Errors
/// When the database fails.
pub async fn announce_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_notify($1, encode(digest, 'hex')) from api_keys
          where organization_id = $2 and project_id = $3 and revoked_at is null",
        CHANNEL,
        organization as OrganizationId,
        project as ProjectId,
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

async fn announce(conn: &mut PgConnection, digest: &Digest) -> Result<(), sqlx::Error> {
    announce_bytes(conn, digest).await
}

/// Sent when the transaction commits, and only then.
async fn announce_bytes(conn: &mut PgConnection, digest: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, hex::encode(digest)).execute(conn).await?;
    Ok(())
}
