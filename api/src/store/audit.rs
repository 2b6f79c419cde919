//! Who changed what, written with the change itself.

use protocol::wallet::Address;
use protocol::{EventId, KeyId, NodeId, OrganizationId, ProviderId, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody at the operator's command line, by their name on that machine.
    Operator(String),
    /// The holder of a key.
    Key(KeyId),
    /// The holder of a wallet.
    Wallet(Address),
    /// A node, by its session.
    Node(NodeId),
}

/// One change.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Names the event.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// What was done, such as `key.revoked`.
    pub action: &'static str,
    /// To what, an id.
    pub target: String,
    /// Whose organization it concerns.
    pub organization: Option<OrganizationId>,
    /// Which provider it concerns.
    pub provider: Option<ProviderId>,
    /// What else is worth knowing. Never a secret.
    pub detail: Value,
}

impl Entry {
    /// An event without detail that concerns nobody in particular yet.
    #[must_use]
    pub fn new(id: EventId, at: Timestamp, actor: Actor, action: &'static str, target: impl ToString) -> Self {
        let target = target.to_string();
        Self {
            id,
            at,
            actor,
            action,
            target,
            organization: None,
            provider: None,
            detail: Value::Object(Default::default()),
        }
    }

    /// Concerning an organization.
    #[must_use]
    pub fn of_organization(mut self, organization: OrganizationId) -> Self {
        self.organization = Some(organization);
        self
    }

    /// Concerning a provider.
    #[must_use]
    pub fn of_provider(mut self, provider: ProviderId) -> Self {
        self.provider = Some(provider);
        self
    }

    /// With what else is worth knowing.
    #[must_use]
    pub fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

/// Writes one event.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, entry: Entry) -> Result<(), sqlx::Error> {
    let (kind, actor) = match &entry.actor {
        Actor::Operator(name) => ("operator", name.clone()),
        Actor::Key(key) => ("key", key.to_string()),
        Actor::Wallet(address) => ("wallet", address.to_string()),
        Actor::Node(node) => ("node", node.to_string()),
    };
    sqlx::query!(
        "insert into audit_events (event_id, at, actor_kind, actor, action, target, organization_id, provider_id, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        entry.id as EventId,
        entry.at as Timestamp,
        kind,
        actor,
        entry.action,
        entry.target,
        entry.organization as Option<OrganizationId>,
        entry.provider as Option<ProviderId>,
        entry.detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}
