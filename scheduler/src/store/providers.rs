//! Providers.

use protocol::{ProviderId, Timestamp};
use sqlx::PgConnection;

use super::{corrupt, notify};
use crate::error::Error;
use crate::provider::{Provider, ProviderState};

/// Adds a provider.
///
/// # Errors
/// [`Error::SlugTaken`] when another one has that short name.
pub async fn insert(conn: &mut PgConnection, provider: &Provider) -> Result<(), Error> {
    let done = sqlx::query!(
        "insert into providers (provider_id, slug, name, contact_email, country, website, privacy_policy_url,
                                terms_version, payout_account, receipt_address, state, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (slug) do nothing",
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
