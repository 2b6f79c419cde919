//! What replicas tell each other about money: short hints over one channel. Losing one costs time, never money.

use std::fmt;
use std::str::FromStr;

use protocol::{BootId, Id, OrganizationId};
use uuid::Uuid;

use super::Scope;
use crate::budget::BudgetScope;

/// The channel all replicas listen on.
pub(crate) const CHANNEL: &str = "steelyard_billing";

/// One hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Someone is short: give back what is idle.
    Recall(Scope),
    /// A limit or the state of an account changed: ask again before using it.
    Changed(Scope),
    /// A replica started: count again.
    Joined(BootId),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, scope) = match self {
            Self::Recall(scope) => ("recall", scope),
            Self::Changed(scope) => ("changed", scope),
            Self::Joined(boot) => return write!(f, "joined boot {}", boot.uuid().simple()),
        };
        match scope {
            Scope::Account(account) => write!(f, "{verb} account {}", account.uuid().simple()),
            Scope::Budget(budget) => write!(f, "{verb} {} {}", budget.kind(), budget.uuid().simple()),
        }
    }
}

/// A text that is no hint, as from a newer replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAHint;

impl FromStr for Hint {
    type Err = NotAHint;

    fn from_str(text: &str) -> Result<Self, NotAHint> {
        let mut words = text.split(' ');
        let (Some(verb), Some(kind), Some(id), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(NotAHint);
        };
        let id = Uuid::try_parse(id).map_err(|_| NotAHint)?;
        if (verb, kind) == ("joined", "boot") {
            return Ok(Self::Joined(BootId::from_uuid(id)));
        }
        let scope = match kind {
            "account" => Scope::Account(OrganizationId::from_uuid(id)),
            _ => Scope::Budget(BudgetScope::from_stored(kind, id).ok_or(NotAHint)?),
        };
        match verb {
            "recall" => Ok(Self::Recall(scope)),
            "changed" => Ok(Self::Changed(scope)),
            _ => Err(NotAHint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{KeyId, ProjectId};

    #[test]
    fn hints_are_read_as_they_were_written() {
        let id = Uuid::from_u128(77);
        let scopes = [
            Scope::Account(OrganizationId::from_uuid(id)),
            Scope::Budget(BudgetScope::Key(KeyId::from_uuid(id))),
            Scope::Budget(BudgetScope::Project(ProjectId::from_uuid(id))),
            Scope::Budget(BudgetScope::Organization(OrganizationId::from_uuid(id))),
        ];
        for scope in scopes {
            for hint in [Hint::Recall(scope), Hint::Changed(scope)] {
                assert_eq!(hint.to_string().parse(), Ok(hint));
            }
        }
        let joined = Hint::Joined(BootId::from_uuid(id));
        assert_eq!(joined.to_string().parse(), Ok(joined));
        assert_eq!("recall moon 1".parse::<Hint>(), Err(NotAHint));
        assert_eq!("".parse::<Hint>(), Err(NotAHint));
    }
}
