//! What the books say, asked of the database.

use protocol::{Id as _, RequestId};

use super::{Live, PATIENCE, until};

/// One settled request.
#[derive(Debug, Clone)]
pub struct Billed {
    /// How it ended.
    pub outcome: String,
    /// What it cost, in billionths of a dollar.
    pub charge: i64,
    /// What had been set aside.
    pub hold: i64,
    /// What the hold did not cover.
    pub clamped: i64,
    /// Output tokens.
    pub completion: i64,
    /// Who tried, in order.
    pub attempts: Vec<Try>,
}

/// One attempt of a settled request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// How it ended.
    pub outcome: String,
    /// What its provider earned.
    pub earned: i64,
    /// What it answered.
    pub status: Option<i32>,
    /// Our word for what went wrong.
    pub code: Option<String>,
}

impl Live {
    /// The one row of a request, once it is there.
    pub async fn billed(&self, request: RequestId) -> Billed {
        let there = async || self.rows_of(request).await == 1;
        until("the request is in the books", PATIENCE, there).await;
        let row = sqlx::query!(
            "select outcome, charge_nano_usd, hold_nano_usd, clamped_nano_usd, completion from usage where request_id = $1",
            request.uuid(),
        );
        let row = row.fetch_one(&self.app.db).await.unwrap();
        let attempts = sqlx::query_as!(
            Try,
            "select outcome, earn_nano_usd as earned, status, error_code as code from attempts
              where request_id = $1 order by position",
            request.uuid(),
        );
        Billed {
            outcome: row.outcome,
            charge: row.charge_nano_usd,
            hold: row.hold_nano_usd,
            clamped: row.clamped_nano_usd,
            completion: row.completion,
            attempts: attempts.fetch_all(&self.app.db).await.unwrap(),
        }
    }

    /// Rows a request has right now.
    pub async fn rows_of(&self, request: RequestId) -> i64 {
        let count =
            sqlx::query_scalar!(r#"select count(*) as "count!" from usage where request_id = $1"#, request.uuid());
        count.fetch_one(&self.app.db).await.unwrap()
    }

    /// All that was ever charged.
    pub async fn charged(&self) -> i64 {
        let sum = sqlx::query_scalar!(r#"select coalesce(sum(charge_nano_usd), 0)::int8 as "sum!" from usage"#);
        sum.fetch_one(&self.app.db).await.unwrap()
    }

    /// How many requests are in the books.
    pub async fn settled(&self) -> i64 {
        sqlx::query_scalar!(r#"select count(*) as "count!" from usage"#).fetch_one(&self.app.db).await.unwrap()
    }

    /// The database of a broker that has stopped.
    pub async fn reopened(&self) -> sqlx::PgPool {
        platform::db::connect(self.db.config()).await.unwrap()
    }

    /// Checks that the books add up, with nothing left in the settle queue.
    pub async fn books_add_up(&self) {
        let report = billing::reconcile::reconcile(&self.app.db).await.unwrap();
        let wrong: Vec<_> = report.checks.iter().filter(|check| !check.differences.is_empty()).collect();
        assert!(report.is_green(), "{wrong:#?}");
    }
}
