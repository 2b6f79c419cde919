//! Who changed what, written with the change itself.

use protocol::wallet::Address;
use protocol::{EventId, Id as _, KeyId, NodeId, OrganizationId, ProjectId, ProviderId, ServiceAccountId, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

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
    /// Which of its projects, where it is about one.
    pub project: Option<ProjectId>,
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
            project: None,
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

    /// Concerning a project of that organization.
    #[must_use]
    pub fn of_project(mut self, project: ProjectId) -> Self {
        self.project = Some(project);
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
        "insert into audit_events
                (event_id, at, actor_kind, actor, action, target, organization_id, project_id, provider_id, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        entry.id as EventId,
        entry.at as Timestamp,
        kind,
        actor,
        entry.action,
        entry.target,
        entry.organization as Option<OrganizationId>,
        entry.project as Option<ProjectId>,
        entry.provider as Option<ProviderId>,
        entry.detail,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One event as it is read back.
#[derive(Debug, Clone)]
pub struct Event {
    /// Names the event.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// `operator`, `key`, `wallet` or `node`.
    pub actor_kind: String,
    /// Which one: an id, an address or a name.
    pub actor: String,
    /// The service account that holds the key, if it was one's.
    pub service_account: Option<ServiceAccountId>,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// In which project.
    pub project: Option<ProjectId>,
    /// What that project is called now.
    pub project_name: Option<String>,
    /// What else is worth knowing.
    pub detail: Value,
}

/// Which events of an organization are wanted. An empty list leaves all in.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At or after this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub before: Option<Timestamp>,
    /// Concerning one of these projects.
    pub projects: Vec<ProjectId>,
    /// One of these actions.
    pub actions: Vec<String>,
    /// By one of these actors, or by a key of one of these service accounts.
    pub actors: Vec<String>,
    /// To one of these.
    pub targets: Vec<String>,
}

/// Where in a list, newest first, a page lies.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// At the beginning.
    First,
    /// Next after this event.
    After(EventId),
    /// Right before this event.
    Before(EventId),
}

/// Events of an organization, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    of: OrganizationId,
    filter: &Filter,
    place: Place,
    limit: u32,
) -> Result<Vec<Event>, sqlx::Error> {
    let (after, before) = match place {
        Place::First => (None, None),
        Place::After(id) => (Some(id), None),
        Place::Before(id) => (None, Some(id)),
    };
    let projects: Vec<Uuid> = filter.projects.iter().map(|project| project.uuid()).collect();
    // Ids of one kind share a prefix, so texts that are no service account's id match none.
    let accounts: Vec<Uuid> =
        filter.actors.iter().filter_map(|actor| Some(actor.parse::<ServiceAccountId>().ok()?.uuid())).collect();
    let mut events = sqlx::query_as!(
        Event,
        r#"select e.event_id as "id: EventId", e.at as "at: Timestamp", e.actor_kind, e.actor,
                  k.service_account_id as "service_account?: ServiceAccountId", e.action, e.target,
                  e.project_id as "project: ProjectId", p.name as "project_name?", e.detail
             from audit_events e
             left join projects p on p.project_id = e.project_id and p.organization_id = e.organization_id
             left join api_keys k on k.key_id = case when e.actor_kind = 'key' then substr(e.actor, 5)::uuid end
                                 and k.organization_id = e.organization_id
            where e.organization_id = $1
              and ($2::timestamptz is null or e.at >= $2)
              and ($3::timestamptz is null or e.at < $3)
              and ($4::uuid[] = '{}' or e.project_id = any($4))
              and ($5::text[] = '{}' or e.action = any($5))
              and ($6::text[] = '{}' or e.actor = any($6) or k.service_account_id = any($7))
              and ($8::text[] = '{}' or e.target = any($8))
              and ($9::uuid is null or e.event_id < $9)
              and ($10::uuid is null or e.event_id > $10)
            order by case when $10 is null then e.event_id end desc, e.event_id limit $11"#,
        of as OrganizationId,
        filter.from as Option<Timestamp>,
        filter.before as Option<Timestamp>,
        &projects,
        &filter.actions,
        &filter.actors,
        &accounts,
        &filter.targets,
        after as Option<EventId>,
        before as Option<EventId>,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    if before.is_some() {
        events.reverse();
    }
    Ok(events)
}
