//! Providers.

use protocol::{ProviderId, Timestamp};
use sqlx::PgConnection;

use super::{corrupt, notify};
use crate::error::Error;
use crate::provider::{Provider, ProviderState};

/// Adds a provider. A pending one holds its short name against nobody.
///
/// # Errors
/// [`Error::SlugTaken`] when another one has proved that short name.
pub async fn insert(conn: &mut PgConnection, provider: &Provider) -> Result<(), Error> {
    let done = sqlx::query!(
        "insert into providers (provider_id, slug, name, contact_email, country, website, privacy_policy_url,
                                terms_version, payout_account, receipt_address, state, created_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
          where not exists (select 1 from providers where slug = $2 and state <> 'pending')",
        provider.id as ProviderId,
        provider.slug,
        provider.name,
        provider.contact_email,
        provider.country,
        provider.website,
        provider.privacy_policy_url,
        provider.terms_version,
        provider.payout_account,
        provider.receipt_address.to_string(),
        provider.state.as_str(),
        provider.created_at as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::SlugTaken(provider.slug.clone()));
    }
    Ok(notify(conn).await?)
}

/// Makes a pending provider active: its short name is its own from now on.
///
/// # Errors
/// [`Error::SlugTaken`] when another one was quicker to prove it.
pub async fn activate(conn: &mut PgConnection, provider: &Provider) -> Result<(), Error> {
    let done = sqlx::query!(
        "update providers as own set state = 'active'
          where provider_id = $1 and state = 'pending'
            and not exists (select 1 from providers where slug = own.slug and state <> 'pending')",
        provider.id as ProviderId,
    )
    .execute(&mut *conn)
    .await;
    match done {
        Ok(done) if done.rows_affected() == 1 => Ok(notify(conn).await?),
        Ok(_) => Err(Error::SlugTaken(provider.slug.clone())),
        // The other one committed between the look and the write.
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
            Err(Error::SlugTaken(provider.slug.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// How many providers wait to prove their wallet.
///
/// # Errors
/// [`Error::Database`].
pub async fn count_pending(conn: &mut PgConnection) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from providers where state = 'pending'"#);
    Ok(count.fetch_one(conn).await?)
}

/// Drops providers announced before `before` that never proved their wallet, the oldest first and at most
/// `most` of them. Returns how many.
///
/// # Errors
/// [`Error::Database`].
pub async fn drop_pending(conn: &mut PgConnection, before: Timestamp, most: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from providers where state = 'pending' and provider_id in (
           select provider_id from providers where state = 'pending' and created_at < $1
            order by created_at limit $2 for update skip locked)",
        before as Timestamp,
        most,
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// A provider, if there is one.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn find(conn: &mut PgConnection, id: ProviderId) -> Result<Option<Provider>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select provider_id as "provider_id: ProviderId", slug, name, contact_email, country, website,
                  privacy_policy_url, terms_version, payout_account, receipt_address, state,
                  created_at as "created_at: Timestamp"
             from providers where provider_id = $1"#,
        id as ProviderId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::into_provider).transpose()
}

/// A provider.
///
/// # Errors
/// [`Error::ProviderNotFound`].
pub async fn get(conn: &mut PgConnection, id: ProviderId) -> Result<Provider, Error> {
    find(conn, id).await?.ok_or(Error::ProviderNotFound(id))
}

/// A provider, locked until the transaction ends: two who change what hangs on it come one after the other.
///
/// # Errors
/// [`Error::ProviderNotFound`].
pub async fn claim(conn: &mut PgConnection, id: ProviderId) -> Result<Provider, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select provider_id as "provider_id: ProviderId", slug, name, contact_email, country, website,
                  privacy_policy_url, terms_version, payout_account, receipt_address, state,
                  created_at as "created_at: Timestamp"
             from providers where provider_id = $1 for update"#,
        id as ProviderId,
    )
    .fetch_optional(conn)
    .await?;
    row.ok_or(Error::ProviderNotFound(id))?.into_provider()
}

/// All providers, by short name.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Provider>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select provider_id as "provider_id: ProviderId", slug, name, contact_email, country, website,
                  privacy_policy_url, terms_version, payout_account, receipt_address, state,
                  created_at as "created_at: Timestamp"
             from providers order by slug"#,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::into_provider).collect()
}

/// Moves a provider to a state. Repeating it is harmless; a closed provider stays closed.
///
/// # Errors
/// [`Error::ProviderNotFound`], also for a closed one.
pub async fn set_state(conn: &mut PgConnection, id: ProviderId, state: ProviderState) -> Result<(), Error> {
    let done = sqlx::query!(
        "update providers set state = $2 where provider_id = $1 and (state <> 'closed' or $2 = 'closed')",
        id as ProviderId,
        state.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::ProviderNotFound(id));
    }
    Ok(notify(conn).await?)
}

pub(super) struct Row {
    provider_id: ProviderId,
    slug: String,
    name: String,
    contact_email: String,
    country: String,
    website: Option<String>,
    privacy_policy_url: Option<String>,
    terms_version: String,
    payout_account: String,
    receipt_address: String,
    state: String,
    created_at: Timestamp,
}

impl Row {
    pub(super) fn into_provider(self) -> Result<Provider, Error> {
        let id = self.provider_id;
        Ok(Provider {
            id,
            slug: self.slug,
            name: self.name,
            contact_email: self.contact_email,
            country: self.country,
            website: self.website,
            privacy_policy_url: self.privacy_policy_url,
            terms_version: self.terms_version,
            payout_account: self.payout_account,
            receipt_address: self.receipt_address.parse().map_err(corrupt("receipt_address", id))?,
            state: self.state.parse().map_err(corrupt("state", id))?,
            created_at: self.created_at,
        })
    }
}
