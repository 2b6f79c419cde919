//! Limits on spending: who they bind, and which window a moment falls in.

use std::fmt;
use std::str::FromStr;

use protocol::{Id, KeyId, NanoUsd, OrganizationId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::calendar;

/// Whom a limit binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    /// One API key.
    Key(KeyId),
    /// All keys of a project.
    Project(ProjectId),
    /// All projects of an organization.
    Organization(OrganizationId),
}

/// When a limit starts anew, in UTC. Without one it holds for a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// At midnight.
    Daily,
    /// At midnight before Monday.
    Weekly,
    /// At midnight before the first of a month.
    Monthly,
}

/// A limit as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Names the limit's windows; a changed reset starts a new budget.
    pub id: Uuid,
    /// Whom it binds.
    pub scope: BudgetScope,
    /// The most that may be spent per window.
    pub limit: NanoUsd,
    /// When it starts anew; `None` for a lifetime limit.
    pub reset: Option<Reset>,
}

/// From when to when a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant inside.
    pub starts_at: Timestamp,
    /// The first instant after.
    pub ends_at: Timestamp,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self { starts_at: Timestamp::EPOCH, ends_at: Timestamp::from_unix_micros(i64::MAX) };

    /// The window of a limit with this reset that `now` falls in.
    #[must_use]
    pub fn of(reset: Option<Reset>, now: Timestamp) -> Self {
        let today = calendar::day_of(now);
        let (from, to) = match reset {
            None => return Self::ALWAYS,
            Some(Reset::Daily) => (today, today + 1),
            Some(Reset::Weekly) => (calendar::monday(today), calendar::monday(today) + 7),
            Some(Reset::Monthly) => (calendar::first_of_month(today), calendar::first_of_next_month(today)),
        };
        Self { starts_at: calendar::midnight(from), ends_at: calendar::midnight(to) }
    }
}

impl BudgetScope {
    /// The name of the kind, as stored.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Project(_) => "project",
            Self::Organization(_) => "organization",
        }
    }

    /// The bare id of whom it binds, as stored.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Key(key) => key.uuid(),
            Self::Project(project) => project.uuid(),
            Self::Organization(organization) => organization.uuid(),
        }
    }

    pub(crate) fn from_stored(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "key" => Some(Self::Key(KeyId::from_uuid(id))),
            "project" => Some(Self::Project(ProjectId::from_uuid(id))),
            "organization" => Some(Self::Organization(OrganizationId::from_uuid(id))),
            _ => None,
        }
    }
}

impl Reset {
    /// The name, as stored and as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reset is daily, weekly or monthly")]
pub struct ParseResetError;

impl FromStr for Reset {
    type Err = ParseResetError;

    fn from_str(text: &str) -> Result<Self, ParseResetError> {
        [Self::Daily, Self::Weekly, Self::Monthly].into_iter().find(|r| r.as_str() == text).ok_or(ParseResetError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_utc_boundaries_and_hold_their_moment() {
        let now = Timestamp::from_unix_seconds(20_782 * 86_400 + 3_661); // 2026-11-25 01:01:01, a Wednesday
        let days = |reset| {
            let window = Window::of(reset, now);
            assert!(window.starts_at <= now && now < window.ends_at);
            (calendar::day_of(window.starts_at), calendar::day_of(window.ends_at))
        };
        assert_eq!(days(Some(Reset::Daily)), (20_782, 20_783));
        assert_eq!(days(Some(Reset::Weekly)), (20_780, 20_787));
        assert_eq!(days(Some(Reset::Monthly)), (20_758, 20_788));
        assert_eq!(Window::of(None, now), Window::ALWAYS);
    }
}
