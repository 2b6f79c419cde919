//! Settled requests of an account, one by one, as a record of what it used.

use protocol::{KeyId, NanoUsd, OrganizationId, ProjectId, RequestId, Timestamp};
use sqlx::PgConnection;

use super::partitions::first_id;

/// One settled request.
#[derive(Debug, Clone)]
pub struct UsageEntry {
    /// Which.
    pub request: RequestId,
    /// For which project.
    pub project: ProjectId,
    /// With which key.
    pub key: KeyId,
    /// The model.
    pub model: String,
    /// How it ended.
    pub outcome: String,
    /// What it cost.
    pub charge: NanoUsd,
    /// Tokens read, whether or not they were cached.
    pub prompt: i64,
    /// Tokens made.
    pub completion: i64,
    /// When it came.
    pub received_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Requests of an account that came at `from` or later, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list(
    conn: &mut PgConnection,
    account: OrganizationId,
    from: Timestamp,
    limit: i64,
) -> Result<Vec<UsageEntry>, sqlx::Error> {
    sqlx::query_as!(
        UsageEntry,
        r#"select request_id as "request: RequestId", project_id as "project: ProjectId", key_id as "key: KeyId", model,
                  outcome, charge_nano_usd as "charge: NanoUsd",
                  prompt + cached_prompt + cache_write as "prompt!",
                  completion + internal_reasoning as "completion!", received_at as "received_at: Timestamp",
                  finished_at as "finished_at: Timestamp"
             from usage where account_id = $1 and request_id >= $2 order by request_id limit $3"#,
        account as OrganizationId,
        first_id(from),
        limit,
    )
    .fetch_all(conn)
    .await
}
