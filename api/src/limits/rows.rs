//! Which limits apply: what the operator set for everyone, and rows for single keys, projects and organizations.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::bucket::{Bucket, BucketId, Kind, Scope};
use super::config::{Allowance, LimitsConfig};
use super::gcra::Quota;
use crate::store::rate_limits::{ALL_MODELS, LimitScope, RateLimit};

/// Limits of one scope for one model, or for all. What a row leaves out stays as the settings have it; 0 takes the
/// limit away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRow {
    /// Whom it binds.
    pub scope: Scope,
    /// A public model id; `None` for all models together.
    pub model: Option<Arc<str>>,
    /// Requests in a minute.
    pub max_requests_per_minute: Option<u64>,
    /// Tokens in a minute.
    pub max_tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    pub max_concurrency: Option<u64>,
}

/// Rows in memory, replaced as a whole by whoever reads them.
#[derive(Default)]
pub struct RowTable(ArcSwap<HashMap<Scope, Arc<[LimitRow]>>>);

impl RowTable {
    /// These rows and no others from now on. What was used so far still counts.
    pub fn replace(&self, rows: impl IntoIterator<Item = LimitRow>) {
        let mut by_scope: HashMap<Scope, Vec<LimitRow>> = HashMap::new();
        for row in rows {
            by_scope.entry(row.scope).or_default().push(row);
        }
        self.0.store(Arc::new(by_scope.into_iter().map(|(scope, rows)| (scope, rows.into())).collect()));
    }

    /// All rows of `scope`, for every model.
    pub fn rows_of(&self, scope: Scope) -> Arc<[LimitRow]> {
        self.0.load().get(&scope).cloned().unwrap_or_default()
    }
}

/// The limits of `scope` for all models together: those of `kinds`, as set or as its row says.
pub(super) fn general(
    config: &LimitsConfig,
    rows: &[LimitRow],
    scope: Scope,
    kinds: &[Kind],
    buckets: &mut Vec<Bucket>,
) {
    let default = config.of(scope);
    let row = rows.iter().find(|row| row.model.is_none());
    for &kind in kinds {
        let said = row.and_then(|row| row.max(kind));
        push(scope, None, kind, said.unwrap_or_else(|| default.max(kind)), buckets);
    }
}

/// The further limits of `scope` for one model.
pub(super) fn special(rows: &[LimitRow], scope: Scope, model: &str, buckets: &mut Vec<Bucket>) {
    let Some(row) = rows.iter().find(|row| row.model.as_deref() == Some(model)) else { return };
    for kind in [Kind::Requests, Kind::Concurrency, Kind::Tokens] {
        push(scope, row.model.clone(), kind, row.max(kind).unwrap_or(0), buckets);
    }
}

fn push(scope: Scope, model: Option<Arc<str>>, kind: Kind, max: u64, buckets: &mut Vec<Bucket>) {
    let quota = match kind {
        _ if max == 0 => return,
        Kind::Requests | Kind::Tokens => Quota::per_minute(max),
        Kind::Concurrency => Quota::at_once(max),
    };
    buckets.push(Bucket { id: BucketId { scope, model, kind }, quota });
}

impl From<RateLimit> for LimitRow {
    fn from(stored: RateLimit) -> Self {
        let scope = match stored.scope {
            LimitScope::Key(id) => Scope::Key(id),
            LimitScope::Project(id) => Scope::Project(id),
            LimitScope::Organization(id) => Scope::Organization(id),
        };
        Self {
            scope,
            model: (stored.model != ALL_MODELS).then(|| stored.model.into()),
            max_requests_per_minute: stored.limits.max_requests_per_minute.map(u64::from),
            max_tokens_per_minute: stored.limits.max_tokens_per_minute.map(u64::from),
            max_concurrency: stored.limits.max_concurrency.map(u64::from),
        }
    }
}

impl LimitRow {
    fn max(&self, kind: Kind) -> Option<u64> {
        match kind {
            Kind::Requests => self.max_requests_per_minute,
            Kind::Tokens => self.max_tokens_per_minute,
            Kind::Concurrency => self.max_concurrency,
        }
    }
}

impl Allowance {
    fn max(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Requests => self.requests_per_minute,
            Kind::Tokens => self.tokens_per_minute,
            Kind::Concurrency => self.concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Id, KeyId};

    use super::*;

    const ALL: [Kind; 3] = [Kind::Requests, Kind::Tokens, Kind::Concurrency];

    fn row(model: Option<&str>, requests: Option<u64>) -> LimitRow {
        LimitRow {
            scope: scope(),
            model: model.map(Into::into),
            max_requests_per_minute: requests,
            max_tokens_per_minute: None,
            max_concurrency: None,
        }
    }

    fn scope() -> Scope {
        Scope::Key(KeyId::from_uuid(uuid::Uuid::from_u128(1)))
    }

    fn requests(rows: &[LimitRow]) -> Option<u64> {
        let mut buckets = Vec::new();
        general(&LimitsConfig::default(), rows, scope(), &ALL, &mut buckets);
        buckets.iter().find(|bucket| bucket.id.kind == Kind::Requests).map(|bucket| bucket.quota.burst)
    }

    #[test]
    fn a_row_overrides_the_settings_only_in_what_it_says() {
        let set = LimitsConfig::default().key.requests_per_minute;
        assert_eq!(requests(&[]), Some(set));
        assert_eq!(requests(&[row(None, Some(5))]), Some(5));
        assert_eq!(requests(&[row(None, None)]), Some(set));
        assert_eq!(requests(&[row(None, Some(0))]), None, "0 takes the limit away");
        assert_eq!(requests(&[row(Some("org/name"), Some(5))]), Some(set), "another model's row is not everyone's");
    }

    #[test]
    fn a_model_has_limits_of_its_own_beside_the_general_ones() {
        let rows = [row(None, Some(50)), row(Some("org/name"), Some(5))];
        let of = |model: &str| {
            let mut buckets = Vec::new();
            special(&rows, scope(), model, &mut buckets);
            buckets.into_iter().map(|bucket| (bucket.id.to_string(), bucket.quota.burst)).collect::<Vec<_>>()
        };
        let name = "requests:key:00000000-0000-0000-0000-000000000001:org/name".to_owned();
        assert_eq!(of("org/name"), [(name, 5)]);
        assert_eq!(of("org/other"), []);
    }

    #[test]
    fn replaced_rows_apply_at_once() {
        let table = RowTable::default();
        table.replace([row(None, Some(5))]);
        assert_eq!(requests(&table.rows_of(scope())), Some(5));
        table.replace([]);
        assert!(table.rows_of(scope()).is_empty());
    }
}
