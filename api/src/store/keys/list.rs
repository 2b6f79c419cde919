//! Keys as their owners see them.

use protocol::{KeyId, OrganizationId, ProjectId, ProviderId, ServiceAccountId, Timestamp};
use sqlx::PgConnection;

use super::RawHolder;
use crate::keys::KeyRecord;
use crate::store::model_permissions;
use crate::store::service_accounts::ServiceAccount;

/// A key as lists show it.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// What a cache would hold of it.
    pub record: KeyRecord,
    /// Enough to recognise the secret.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The service account that holds it, if one does.
    pub service_account: Option<ServiceAccount>,
    /// Since when it rests.
    pub disabled_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Which keys a list is about, and so whom a caller may see.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Inference keys of one project.
    Inference(OrganizationId, ProjectId),
    /// Inference and management keys of one project.
    Project(OrganizationId, ProjectId),
    /// Admin keys of one organization.
    Admin(OrganizationId),
    /// All keys of one organization.
    Organization(OrganizationId),
    /// Keys of one provider.
    Provider(ProviderId),
}

/// One key of `owner`, revoked or not.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: KeyId, owner: Option<Owner>) -> Result<Option<KeyRow>, sqlx::Error> {
    let wanted = Wanted { id: Some(id), revoked_too: true, limit: 1, ..Wanted::default() };
    Ok(list(conn, owner, wanted).await?.pop())
}

/// One key of `owner` that was not revoked.
///
/// # Errors
/// When the database fails.
pub async fn find_kept(conn: &mut PgConnection, id: KeyId, owner: Owner) -> Result<Option<KeyRow>, sqlx::Error> {
    let wanted = Wanted { id: Some(id), limit: 1, ..Wanted::default() };
    Ok(list(conn, Some(owner), wanted).await?.pop())
}

/// Keys of `owner`, revoked ones too, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_of(conn: &mut PgConnection, owner: Owner, limit: u32) -> Result<Vec<KeyRow>, sqlx::Error> {
    list(conn, Some(owner), Wanted { revoked_too: true, limit, ..Wanted::default() }).await
}

/// Keys of `owner` that were not revoked, those behind `after` when it is given.
///
/// # Errors
/// When the database fails.
pub async fn list_kept(
    conn: &mut PgConnection,
    owner: Owner,
    after: Option<KeyId>,
    oldest_first: bool,
    limit: u32,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    list(conn, Some(owner), Wanted { after, oldest_first, limit, ..Wanted::default() }).await
}

/// Which of an owner's keys.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    id: Option<KeyId>,
    after: Option<KeyId>,
    oldest_first: bool,
    revoked_too: bool,
    limit: u32,
}

async fn list(conn: &mut PgConnection, owner: Option<Owner>, wanted: Wanted) -> Result<Vec<KeyRow>, sqlx::Error> {
    let (mut organization, mut project, mut provider, mut kinds) = (None, None, None, &[][..]);
    match owner {
        None => {}
        Some(Owner::Inference(of, its)) => (organization, project, kinds) = (Some(of), Some(its), &["inference"]),
        Some(Owner::Project(of, its)) => (organization, project) = (Some(of), Some(its)),
        Some(Owner::Admin(of)) => (organization, kinds) = (Some(of), &["admin"]),
        Some(Owner::Organization(of)) => organization = Some(of),
        Some(Owner::Provider(of)) => provider = Some(of),
    }
    let kinds: Vec<String> = kinds.iter().map(|&kind: &&str| kind.to_owned()).collect();
    let rows = sqlx::query!(
        r#"select k.key_id as "id: KeyId", k.kind, k.organization_id as "organization: OrganizationId",
                  k.project_id as "project: ProjectId", k.provider_id as "provider: ProviderId", k.name, k.hint,
                  k.created_at as "created_at: Timestamp", k.expires_at as "expires_at: Timestamp",
                  k.disabled_at as "disabled_at: Timestamp", k.revoked_at as "revoked_at: Timestamp",
                  m.mode as "mode?", m.models as "models?", s.service_account_id as "account?: ServiceAccountId",
                  s.name as "account_name?", s.created_at as "account_created_at?: Timestamp"
             from api_keys k
             left join model_permissions m on m.project_id = k.project_id
             left join service_accounts s on s.service_account_id = k.service_account_id
            where ($1::uuid is null or k.organization_id = $1)
              and ($2::uuid is null or k.project_id = $2)
              and ($3::uuid is null or k.provider_id = $3)
              and ($4::text[] = '{}' or k.kind = any($4))
              and ($5::uuid is null or k.key_id = $5)
              and ($6::uuid is null or case when $7 then k.key_id > $6 else k.key_id < $6 end)
              and ($8 or k.revoked_at is null)
            order by case when $7 then k.key_id end, k.key_id desc limit $9"#,
        organization as Option<OrganizationId>,
        project as Option<ProjectId>,
        provider as Option<ProviderId>,
        &kinds,
        wanted.id as Option<KeyId>,
        wanted.after as Option<KeyId>,
        wanted.oldest_first,
        wanted.revoked_too,
        i64::from(wanted.limit),
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
            let service_account = match (row.account, row.account_name, row.account_created_at) {
                (Some(id), Some(name), Some(created_at)) => row
                    .organization
                    .zip(row.project)
                    .map(|(organization, project)| ServiceAccount { id, organization, project, name, created_at }),
                _ => None,
            };
            let models = row.mode.zip(row.models).map(|(mode, models)| model_permissions::parse(&mode, models));
            let record = KeyRecord {
                id: row.id,
                holder: holder.parse()?,
                name: row.name,
                expires_at: row.expires_at,
                models: models.transpose()?,
            };
            Ok(KeyRow {
                record,
                hint: row.hint,
                created_at: row.created_at,
                service_account,
                disabled_at: row.disabled_at,
                revoked_at: row.revoked_at,
            })
        })
        .collect()
}
