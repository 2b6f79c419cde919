//! How much may be asked for at a time: kept here, enforced where requests come in.

use protocol::{Id as _, KeyId, OrganizationId, ProjectId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Stands for all models together.
pub const ALL_MODELS: &str = "*";

/// Whom a limit binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// All projects of an organization.
    Organization(OrganizationId),
    /// All keys of a project.
    Project(ProjectId),
    /// One key.
    Key(KeyId),
}

/// The most that may be asked for; what is `None` does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub max_requests_per_minute: Option<u32>,
    /// Tokens a minute, prompt and output together.
    pub max_tokens_per_minute: Option<u32>,
    /// Requests in flight.
    pub max_concurrency: Option<u32>,
}

/// What stands for no limit where clients read it: OpenAI's types demand a number.
pub const UNLIMITED: u32 = i32::MAX.cast_unsigned();

impl Limits {
    /// In the audit trail's words, which are those of the API.
    #[must_use]
    pub fn said(self) -> serde_json::Value {
        serde_json::json!({
            "max_requests_per_1_minute": self.max_requests_per_minute.unwrap_or(UNLIMITED),
            "max_tokens_per_1_minute": self.max_tokens_per_minute.unwrap_or(UNLIMITED),
            "max_concurrency": self.max_concurrency.unwrap_or(UNLIMITED),
        })
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Whom it binds.
    pub scope: LimitScope,
    /// For which model, or [`ALL_MODELS`].
    pub model: String,
    /// How much.
    pub limits: Limits,
}

impl LimitScope {
    const fn kind(self) -> &'static str {
        match self {
            Self::Organization(_) => "organization",
            Self::Project(_) => "project",
            Self::Key(_) => "key",
        }
    }

    fn uuid(self) -> Uuid {
        match self {
            Self::Organization(id) => id.uuid(),
            Self::Project(id) => id.uuid(),
            Self::Key(id) => id.uuid(),
        }
    }

    fn from_stored(kind: &str, id: Uuid) -> Result<Self, sqlx::Error> {
        match kind {
            "organization" => Ok(Self::Organization(OrganizationId::from_uuid(id))),
            "project" => Ok(Self::Project(ProjectId::from_uuid(id))),
            "key" => Ok(Self::Key(KeyId::from_uuid(id))),
            other => Err(sqlx::Error::Decode(format!("a rate limit of an unknown kind {other:?}").into())),
        }
    }
}

impl Limits {
    fn of(requests: Option<i64>, tokens: Option<i64>, concurrency: Option<i64>) -> Self {
        let narrow = |limit: Option<i64>| limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        Self {
            max_requests_per_minute: narrow(requests),
            max_tokens_per_minute: narrow(tokens),
            max_concurrency: narrow(concurrency),
        }
    }
}

/// Every limit there is, for whoever enforces them.
///
/// # Errors
/// When the database fails.
pub async fn list_all(conn: &mut PgConnection) -> Result<Vec<RateLimit>, sqlx::Error> {
    let rows = sqlx::query!(
        "select scope_kind, scope_id, model, max_requests_per_minute, max_tokens_per_minute, max_concurrency
           from rate_limits order by scope_kind, scope_id, model",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let scope = LimitScope::from_stored(&row.scope_kind, row.scope_id)?;
            let limits = Limits::of(row.max_requests_per_minute, row.max_tokens_per_minute, row.max_concurrency);
            Ok(RateLimit { scope, model: row.model, limits })
        })
        .collect()
}

/// What was set for one scope: for all models together first, then for single ones by their ids.
///
/// # Errors
/// When the database fails.
pub async fn list_set(conn: &mut PgConnection, scope: LimitScope) -> Result<Vec<RateLimit>, sqlx::Error> {
    let rows = sqlx::query!(
        "select model, max_requests_per_minute, max_tokens_per_minute, max_concurrency from rate_limits
          where scope_kind = $1 and scope_id = $2 order by model <> $3, model",
        scope.kind(),
        scope.uuid(),
        ALL_MODELS,
    )
    .fetch_all(conn)
    .await?;
    let limits = rows.into_iter().map(|row| RateLimit {
        scope,
        model: row.model,
        limits: Limits::of(row.max_requests_per_minute, row.max_tokens_per_minute, row.max_concurrency),
    });
    Ok(limits.collect())
}

/// What binds one scope for one model; nothing at all where nothing was said.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut PgConnection, scope: LimitScope, model: &str) -> Result<Limits, sqlx::Error> {
    let row = sqlx::query!(
        "select max_requests_per_minute, max_tokens_per_minute, max_concurrency from rate_limits
          where scope_kind = $1 and scope_id = $2 and model = $3",
        scope.kind(),
        scope.uuid(),
        model,
    )
    .fetch_optional(conn)
    .await?;
    let limits = row.map(|row| Limits::of(row.max_requests_per_minute, row.max_tokens_per_minute, row.max_concurrency));
    Ok(limits.unwrap_or_default())
}

/// The limits of one scope: for all models together, then for each model that exists or has one, by its id.
/// With `after` those behind that model, with `before` those right before it.
///
/// # Errors
/// When the database fails.
pub async fn list_of(
    conn: &mut PgConnection,
    scope: LimitScope,
    after: Option<&str>,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<RateLimit>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select m.model as "model!", max_requests_per_minute, max_tokens_per_minute, max_concurrency
             from (select $3::text collate "C" as model union select model_id from models
                   union select model from rate_limits where scope_kind = $1 and scope_id = $2) m
             left join rate_limits r on r.scope_kind = $1 and r.scope_id = $2 and r.model = m.model
            where ($4::text is null or m.model > $4 collate "C") and ($5::text is null or m.model < $5 collate "C")
            order by case when $5 is not null then m.model collate "C" end desc, m.model collate "C" limit $6"#,
        scope.kind(),
        scope.uuid(),
        ALL_MODELS,
        after,
        before,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    let mut limits: Vec<RateLimit> = rows
        .into_iter()
        .map(|row| RateLimit {
            scope,
            model: row.model,
            limits: Limits::of(row.max_requests_per_minute, row.max_tokens_per_minute, row.max_concurrency),
        })
        .collect();
    if before.is_some() {
        limits.reverse();
    }
    Ok(limits)
}

/// Sets what binds one scope for one model. Nothing at all takes the limit away.
///
/// # Errors
/// When the database fails.
pub async fn set(conn: &mut PgConnection, scope: LimitScope, model: &str, limits: Limits) -> Result<(), sqlx::Error> {
    if limits == Limits::default() {
        sqlx::query!(
            "delete from rate_limits where scope_kind = $1 and scope_id = $2 and model = $3",
            scope.kind(),
            scope.uuid(),
            model,
        )
        .execute(conn)
        .await?;
        return Ok(());
    }
    sqlx::query!(
        "insert into rate_limits (scope_kind, scope_id, model, max_requests_per_minute, max_tokens_per_minute, max_concurrency)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (scope_kind, scope_id, model) do update
            set max_requests_per_minute = excluded.max_requests_per_minute,
                max_tokens_per_minute = excluded.max_tokens_per_minute,
                max_concurrency = excluded.max_concurrency",
        scope.kind(),
        scope.uuid(),
        model,
        limits.max_requests_per_minute.map(i64::from),
        limits.max_tokens_per_minute.map(i64::from),
        limits.max_concurrency.map(i64::from),
    )
    .execute(conn)
    .await?;
    Ok(())
}
